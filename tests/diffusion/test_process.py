"""The relations between parametrisations; tests/parity holds the schedule to recorded arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glober_jax.diffusion.process import DiffusionProcess, Prediction

PREDICTIONS: tuple[Prediction, ...] = ("eps", "v", "x0")
T_B = np.array([0, 10, 500, 900])


def noisy_example(process: DiffusionProcess) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(x_0, ε, x_t) of four examples of shape [3, 5] at the steps `T_B`."""
    x0, eps = jax.random.normal(jax.random.key(0), (2, 4, 3, 5))
    return x0, eps, process.add_noise(x0, eps, T_B)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_targets_are_read_back_as_x0_and_noise(prediction: Prediction) -> None:
    """Fails when a sign or a coefficient of any parametrisation is wrong.

    Broken on purpose: v with + √(1-ᾱ) x_0, x_0 from v with + √(1-ᾱ) v.
    """
    process = DiffusionProcess(prediction=prediction)
    x0, eps, x_t = noisy_example(process)
    read_x0, read_eps = process.to_x0_eps(process.target(x0, eps, T_B), x_t, T_B)
    np.testing.assert_allclose(read_x0, x0, atol=2e-5)
    # At t = 0 almost no noise is in x_t, and ε is what remains after x_0 is taken away.
    np.testing.assert_allclose(read_eps, eps, atol=2e-5 if prediction != "x0" else 2e-4)


def test_damped_gradient_is_the_signal_and_the_value_is_the_same() -> None:
    """Fails when x_0 is changed, or its gradient is not multiplied by each frame's own √ᾱ_t."""
    process = DiffusionProcess()
    x0, _, _ = noisy_example(process)
    value, pull_back = jax.vjp(lambda x: process.damp_gradient(x, T_B), x0)
    np.testing.assert_array_equal(value, x0)
    signal = np.sqrt(process.alphas_cumprod[T_B])[:, None, None]
    np.testing.assert_allclose(pull_back(jnp.ones_like(x0))[0], signal + 0 * x0, rtol=1e-6)


def test_min_snr_weighs_the_same_x0_error_alike_in_every_parametrisation() -> None:
    """Fails when a parametrisation is weighted by another's factor (broken: v by SNR)."""
    losses = []
    for prediction in PREDICTIONS:
        process = DiffusionProcess(prediction=prediction, min_snr_gamma=5.0)
        x0, eps, x_t = noisy_example(process)
        wrong_x0 = x0 + 0.3
        alphas = process.alphas_cumprod[T_B][:, None, None]
        implied_eps = (x_t - np.sqrt(alphas) * wrong_x0) / np.sqrt(1.0 - alphas)
        output = process.target(wrong_x0, implied_eps, T_B)
        losses.append(process.loss(output, x0, eps, T_B))
    snr = process.alphas_cumprod / (1.0 - process.alphas_cumprod)
    expected = np.minimum(snr[T_B], 5.0) * 0.3**2
    for loss in losses:
        np.testing.assert_allclose(loss, expected, rtol=2e-3)


def test_plain_loss_is_the_mean_squared_error_of_each_example() -> None:
    """Fails when the loss mixes examples, or weights them without being asked to."""
    process = DiffusionProcess(prediction="v")
    x0, eps, _ = noisy_example(process)
    error = jnp.array([1.0, 2.0, 3.0, 0.0])
    output = process.target(x0, eps, T_B) + error[:, None, None]
    np.testing.assert_allclose(process.loss(output, x0, eps, T_B), error**2, atol=1e-5)
    # Frames [B, n] have a step each: the loss keeps both axes.
    t_Bn = np.array([[1, 2], [3, 4]])
    frames = jnp.ones((2, 2, 4, 4, 1))
    assert process.loss(frames, frames, frames, t_Bn).shape == (2, 2)
