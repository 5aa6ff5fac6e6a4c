"""DDIM against a reference step that is itself held to recorded arrays."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest

from glober_jax.diffusion.guidance import DecoderGuidance, combine_conditional
from glober_jax.diffusion.process import DiffusionProcess, Prediction
from glober_jax.diffusion.samplers import ddim, sampling_timesteps
from glober_jax.errors import UserError
from tests.tiny import FIXTURES

SCHEDULE = np.load(FIXTURES / "schedule.npz")
STEP = np.load(FIXTURES / "ddim_step.npz")
RECORDED = ("eta0.0_i0", "eta0.0_i1", "eta0.0_i24", "eta0.0_i49")


def reference_step(
    x: np.ndarray, eps: np.ndarray, alpha: float, previous: float
) -> tuple[np.ndarray, np.ndarray]:
    """(x_prev, x_0) of one deterministic step, in float64."""
    x0 = (x - np.sqrt(1.0 - alpha) * eps) / np.sqrt(alpha)
    return np.sqrt(previous) * x0 + np.sqrt(1.0 - previous) * eps, x0


def reference_ddim(
    predict: Callable[[np.ndarray, int], np.ndarray], x: np.ndarray, steps: int
) -> np.ndarray:
    """The published loop over the recorded tables."""
    tables = [SCHEDULE[f"out/ddim{steps}_{k}"] for k in ("timesteps", "alphas", "alphas_prev")]
    for t, alpha, previous in zip(*(table[::-1] for table in tables), strict=True):
        x, _ = reference_step(x, predict(x, t), float(alpha), float(previous))
    return x


def recorded_prediction(case: str, guidance: DecoderGuidance) -> np.ndarray:
    names = {"full": "cond", "video": "uncond_video", "domain": "uncond_domain"}
    return np.asarray(
        guidance.combine({ours: STEP[f"in/{case}.e_{name}"] for ours, name in names.items()})
    )


@pytest.mark.parametrize("steps", [1, 2, 4, 8, 10, 20, 25, 50, 100, 250])
def test_leading_timesteps_are_the_published_ones(steps: int) -> None:
    """Fails when the first step is 0 and not 1 (broken so), or when the stride is rounded."""
    expected = SCHEDULE[f"out/ddim{steps}_timesteps"]
    np.testing.assert_array_equal(sampling_timesteps(1000, steps, "leading"), expected)


@pytest.mark.parametrize("case", RECORDED)
def test_guided_steps_match_the_recorded_ones(case: str) -> None:
    """Fails when the two scales or the two reduced branches change places (broken so)."""
    index, x = int(case.split("_i")[1]), STEP[f"in/{case}.x"]
    eps = recorded_prediction(case, DecoderGuidance(video_scale=1.5, domain_scale=1.5))
    t_B = STEP[f"in/{case}.t"]
    x0, _ = DiffusionProcess(prediction="eps").to_x0_eps(eps, x, t_B)
    np.testing.assert_allclose(x0, STEP[f"out/{case}.pred_x0"], rtol=1e-5, atol=1e-5)
    alpha, previous = (
        float(SCHEDULE[f"out/ddim50_{table}"][index]) for table in ("alphas", "alphas_prev")
    )
    x_prev, _ = reference_step(x, eps, alpha, previous)
    np.testing.assert_allclose(x_prev, STEP[f"out/{case}.x_prev"], rtol=1e-5, atol=1e-5)


def test_class_guidance_matches_the_recorded_step() -> None:
    """Fails when conditional and unconditional prediction change places (broken so)."""
    eps = combine_conditional(STEP["in/gen.e_cond"], STEP["in/gen.e_uncond"], 9.0)
    t_B = np.full(2, SCHEDULE["out/ddim50_timesteps"][24])
    x0, _ = DiffusionProcess(prediction="eps").to_x0_eps(eps, STEP["in/gen.x"], t_B)
    np.testing.assert_allclose(x0, STEP["out/gen.pred_x0"], rtol=1e-5, atol=3e-5)


def test_last_step_is_the_recorded_one() -> None:
    """Fails when leading DDIM ends at ᾱ = 1 and not at the noise level of step 0 (broken so)."""
    case = RECORDED[0]
    eps = jnp.asarray(recorded_prediction(case, DecoderGuidance(1.5, 1.5)))
    process = DiffusionProcess(prediction="eps")
    out = ddim(process, lambda x, t: eps, jnp.asarray(STEP[f"in/{case}.x"]), 1, spacing="leading")
    np.testing.assert_allclose(out, STEP[f"out/{case}.x_prev"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("steps", [10, 50])
def test_whole_trajectory_follows_the_recorded_tables(steps: int) -> None:
    """Fails when a step reads another step's noise level (broken: table not reversed)."""
    x_T = np.random.default_rng(0).standard_normal((2, 3, 4))
    expected = reference_ddim(lambda x, t: np.tanh(x) * np.cos(t / 300.0), x_T, steps)
    out = ddim(
        DiffusionProcess(prediction="eps"),
        lambda x, t: jnp.tanh(x) * jnp.cos(t / 300.0),
        jnp.asarray(x_T),
        steps,
        spacing="leading",
    )
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


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
