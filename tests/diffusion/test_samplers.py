"""DDIM on predictors that are known; tests/parity holds its steps to recorded arrays."""

import jax.numpy as jnp
import numpy as np
import pytest

from glober_jax.diffusion.guidance import DecoderGuidance
from glober_jax.diffusion.process import DiffusionProcess, Prediction
from glober_jax.diffusion.samplers import ddim, sampling_timesteps
from glober_jax.errors import UserError


@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
def test_a_perfect_predictor_leads_to_x0(prediction: Prediction) -> None:
    """Fails when trailing DDIM does not end at x_0 or does not start at the last step.

    The predictor knows x_0 and derives the noise from what it is shown, so every step must be
    consistent with the one before. Broken: last noise level ᾱ_0.
    """
    process = DiffusionProcess(prediction=prediction)
    x0, x_T = np.random.default_rng(1).standard_normal((2, 2, 3, 4)).astype(np.float32)
    alphas = jnp.asarray(process.alphas_cumprod, jnp.float32)

    def predict(x_t: jnp.ndarray, t: jnp.ndarray) -> jnp.ndarray:
        eps = (x_t - jnp.sqrt(alphas[t]) * x0) / jnp.sqrt(1.0 - alphas[t])
        return process.target(x0, eps, jnp.full(x_t.shape[:1], t))

    out = ddim(process, predict, jnp.asarray(x_T), 7, spacing="trailing")
    np.testing.assert_allclose(out, x0, atol=2e-5)
    assert sampling_timesteps(1000, 7, "trailing")[-1] == 999


@pytest.mark.parametrize(
    ("steps", "spacing"), [(0, "trailing"), (1001, "trailing"), (1000, "leading")]
)
def test_impossible_step_counts_are_refused(steps: int, spacing: str) -> None:
    """Fails when a step count reaches past the schedule without a sentence for the person."""
    with pytest.raises(UserError, match=str(steps)):
        sampling_timesteps(1000, steps, spacing)


def test_branches_without_weight_are_never_computed() -> None:
    """Fails when no guidance costs more than one branch, or drops one that counts."""
    assert DecoderGuidance().coefficients == {"full": 1.0}
    assert set(DecoderGuidance(2.0, 1.0).coefficients) == {"full", "video"}
    assert set(DecoderGuidance(0.0, 3.0).coefficients) == {"full", "domain"}
    # The published formula, written out, for every combination.
    full, video, domain = np.random.default_rng(2).standard_normal((3, 5))
    for w_v in (0.0, 1.0, 2.5):
        for w_d in (0.0, 1.0, 3.0):
            combined = DecoderGuidance(w_v, w_d).combine(
                {"full": full, "video": video, "domain": domain}
            )
            expected = domain + w_v * (full - video) + w_d * (full - domain)
            np.testing.assert_allclose(combined, expected, atol=1e-12)
