"""Samplers on predictors that are known; tests/parity holds DDIM's steps to recorded arrays."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glober_jax.diffusion.ddim import sampling_timesteps
from glober_jax.diffusion.dpm_solver import sampling_levels
from glober_jax.diffusion.predictor import Interval, Predict, Predictor, thresholded
from glober_jax.diffusion.process import DiffusionProcess, Prediction
from glober_jax.diffusion.samplers import SPACINGS, Sampler, Solver, Spacing, sample
from glober_jax.errors import UserError

SOLVERS = [(sampler, spacing) for sampler, fitting in SPACINGS.items() for spacing in fitting]


def knows(process: DiffusionProcess, x0_of: Callable[[jax.Array, jax.Array], jax.Array]) -> Predict:
    """A predictor that says, in the process's own terms, that x_0 is `x0_of(x_t, t_B)`."""

    def predict(x_t: jax.Array, t: jax.Array) -> jax.Array:
        t_B = jnp.full(x_t.shape[:1], t)
        return process.prediction_of(x0_of(x_t, t_B), x_t, t_B)

    return predict


def solved(
    process: DiffusionProcess, solver: Solver, predict: Predict, x_T: jax.Array
) -> jax.Array:
    run = jax.jit(functools.partial(sample, process, solver, Predictor.everywhere(predict)))
    return jax.device_get(run(x_T))


@pytest.mark.parametrize(("sampler", "spacing"), [SOLVERS[0], SOLVERS[2], SOLVERS[3]])
@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
def test_a_perfect_predictor_leads_to_x0(
    prediction: Prediction, sampler: Sampler, spacing: Spacing
) -> None:
    """Fails when a sampler does not end at x_0 or does not start at the last step.

    The predictor knows x_0 and derives the noise from what it is shown, so every step must be
    consistent with the one before. Broken: last noise level ᾱ_0.
    """
    process = DiffusionProcess(prediction=prediction)
    x0, x_T = np.random.default_rng(1).standard_normal((2, 2, 3, 4)).astype(np.float32)
    solver = Solver(sampler, 7, spacing)
    out = solved(process, solver, knows(process, lambda x_t, t: jnp.asarray(x0)), x_T)
    np.testing.assert_allclose(out, x0, atol=2e-5)
    assert sampling_timesteps(1000, 7, "trailing")[-1] == 999


@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
def test_error_falls_with_the_order_of_the_sampler(prediction: Prediction) -> None:
    """Fails when DPM-Solver++ is of first order only (broken: no extrapolation; its sign; the ratio
    of two steps upside down), or a prediction is read at another noise level than it was made at.

    Data are N(m, w²), so the best x_0 and the solution of the flow from x_T are known.
    """
    # Almost no noise at step 0: the last, first-order step from there adds no error of its own.
    process = DiffusionProcess(beta_start=1e-7, prediction=prediction)
    mean, width = 0.5, 0.3
    x_T = np.random.default_rng(2).standard_normal((4, 16)).astype(np.float32)

    def best_x0(x_t: jax.Array, t_B: jax.Array) -> jax.Array:
        signal = process.add_noise(jnp.ones_like(x_t), jnp.zeros_like(x_t), t_B)
        noise = process.add_noise(jnp.zeros_like(x_t), jnp.ones_like(x_t), t_B)
        gain = signal * width**2 / ((signal * width) ** 2 + noise**2)
        return mean + gain * (x_t - signal * mean)

    alpha = process.alphas_cumprod[-1]
    spread = np.sqrt(alpha * width**2 + 1.0 - alpha)
    exact = mean + width * (x_T - np.sqrt(alpha) * mean) / spread

    def errors(sampler: Sampler, spacing: Spacing) -> np.ndarray:
        found = []
        for steps in (20, 40, 80):
            out = solved(process, Solver(sampler, steps, spacing), knows(process, best_x0), x_T)
            found.append(np.sqrt(np.mean((out - exact) ** 2)))
        return np.array(found)

    first = errors("ddim", "trailing")
    np.testing.assert_allclose(first[:-1] / first[1:], 2.0, atol=0.2)
    for spacing in SPACINGS["dpm++"]:
        second = errors("dpm++", spacing)
        assert (second[:-1] / second[1:] > 3.5).all()
        assert (second < 0.5 * first).all()


@pytest.mark.parametrize("spacing", SPACINGS["dpm++"])
def test_steps_are_those_of_the_paper(spacing: Spacing) -> None:
    """Fails when uneven steps are weighted as even ones (broken: the ratio of two steps upside
    down, which only changes the error's size), or the last step is of second order.

    The paper's algorithm 2, written out in float64 with r = h_{i-1} / h_i.
    """
    process = DiffusionProcess(prediction="x0")
    x_T = np.random.default_rng(6).standard_normal((2, 8)).astype(np.float32)
    lambdas = np.append(sampling_levels(process, 4, spacing), 30.0)
    alphas, sigmas = 1 / np.sqrt(1 + np.exp(-2 * lambdas)), 1 / np.sqrt(1 + np.exp(2 * lambdas))
    x, models = x_T.astype(np.float64), []
    for i, h in enumerate(np.diff(lambdas)):
        models.append(np.sin(2.0 * x))
        data = models[-1]
        if i in (1, 2):
            r = (lambdas[i] - lambdas[i - 1]) / h
            data = (1 + 1 / (2 * r)) * models[i] - 1 / (2 * r) * models[i - 1]
        x = sigmas[i + 1] / sigmas[i] * x - alphas[i + 1] * (np.exp(-h) - 1) * data
    out = solved(process, Solver("dpm++", 4, spacing), lambda x_t, t: jnp.sin(2.0 * x_t), x_T)
    np.testing.assert_allclose(out, x, rtol=1e-4, atol=1e-4)


def test_levels_are_spaced_as_their_names_say() -> None:
    """Fails when a spacing leaves out an end, runs the wrong way or is the other one."""
    process = DiffusionProcess()
    ends = process.half_log_snr[[-1, 0]]
    for spacing, even in {
        "log_snr": lambda level: level,
        "karras": lambda level: np.exp(-level / 7.0),
    }.items():
        levels = sampling_levels(process, 9, spacing)
        np.testing.assert_allclose(levels[[0, -1]], ends, rtol=1e-12)
        assert np.ptp(np.diff(even(levels))) < 1e-12 and (np.diff(levels) > 0).all()
    # Real steps and their noise levels belong together, whole ones as in the table.
    steps = process.timesteps_of(process.half_log_snr)
    np.testing.assert_allclose(steps, np.arange(1000), atol=1e-6)
    t_B = np.array([0, 3, 500, 999])
    ones, zeros = np.ones((4, 1), np.float32), np.zeros((4, 1), np.float32)
    for x0, eps in ((ones, zeros), (zeros, ones)):
        between = process.add_noise(x0, eps, t_B.astype(np.float32))
        np.testing.assert_allclose(between, process.add_noise(x0, eps, t_B), rtol=1e-5)


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        (Solver(steps=0), "1..1000, got 0"),
        (Solver(steps=1001), "1..1000, got 1001"),
        (Solver(steps=1000, spacing="leading"), "no room for 1000"),
        (Solver("dpm++", 1001, "karras"), "1..1000, got 1001"),
        (Solver("dpm++", 10, "trailing"), "'trailing', but the sampler dpm.. takes log_snr or kar"),
        (Solver("ddim", 10, "karras"), "'karras', but the sampler ddim takes trailing or leading"),
        (Solver("dpm++", 10, "karras", eta=0.5), "eta is 0.5, but the sampler dpm.. adds no noise"),
        (Solver(threshold=1.0), "threshold is 1.0, but must be 0 .off. or a fraction below 1"),
    ],
)
def test_impossible_settings_are_refused(solver: Solver, message: str) -> None:
    """Fails when settings that do not fit get through without a sentence for the person."""
    with pytest.raises(UserError, match=message):
        solver.check(DiffusionProcess())


@pytest.mark.parametrize(("sampler", "spacing"), SOLVERS)
def test_guidance_counts_inside_its_interval_only(sampler: Sampler, spacing: Spacing) -> None:
    """Fails when a step is guided outside the interval or plain inside, or when cutting the steps
    loses what one step hands to the next (broken: the previous x_0 forgotten at a cut).
    """
    process = DiffusionProcess(prediction="x0")
    x_T = np.random.default_rng(4).standard_normal((2, 8)).astype(np.float32)
    low, high = 0.3, 0.7

    def predict(scale: float, x_t: jax.Array, t: jax.Array) -> jax.Array:
        return jnp.sin(scale * x_t)

    def chosen(x_t: jax.Array, t: jax.Array) -> jax.Array:
        inside = (low * 1000 <= t) & (t <= high * 1000)
        return jnp.where(inside, predict(2.0, x_t, t), predict(0.7, x_t, t))

    solver = Solver(sampler, 12, spacing)
    guided, plain = (functools.partial(predict, scale) for scale in (2.0, 0.7))
    predictor = Predictor(guided, plain, Interval(low, high))
    cut = jax.jit(functools.partial(sample, process, solver, predictor))
    assert str(jax.make_jaxpr(cut)(x_T)).count("scan[") == 3
    expected = solved(process, solver, chosen, x_T)
    np.testing.assert_allclose(cut(x_T), expected, rtol=1e-5, atol=1e-5)
    for everywhere in (guided, plain):
        assert np.abs(solved(process, solver, everywhere, x_T) - expected).max() > 0.01


@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
def test_thresholding_bounds_each_row_by_its_percentile(prediction: Prediction) -> None:
    """Fails when rows share a limit, healthy rows are touched, or another prediction is returned
    than the process's.
    """
    process = DiffusionProcess(prediction=prediction)
    rng = np.random.default_rng(5)
    x0 = rng.standard_normal((2, 4000)).astype(np.float32)
    x0[0] = np.clip(x0[0], -1.9, 1.9)
    x0[1] *= 3.0
    x_t, t = rng.standard_normal((2, 4000)).astype(np.float32), jnp.int32(500)
    predict = knows(process, lambda x_t, t: jnp.asarray(x0))
    prediction_Bd = thresholded(process, predict, 0.95)(x_t, t)
    out, eps = process.to_x0_eps(prediction_Bd, x_t, jnp.full(2, t))
    np.testing.assert_allclose(out[0], x0[0], atol=1e-4)
    bound = 1.959964  # The 95th percentile of |N(0, 1)|.
    limit = np.quantile(np.abs(x0[1]), 0.95)
    np.testing.assert_allclose(out[1], np.clip(x0[1], -limit, limit) * bound / limit, atol=1e-4)
    np.testing.assert_allclose(process.add_noise(out, eps, jnp.full(2, t)), x_t, atol=1e-4)
    # It is the solver's to switch on.
    solver = Solver(steps=3)
    plain = solved(process, solver, predict, x_t)
    np.testing.assert_allclose(plain, x0, atol=1e-3)
    bounded = solved(process, dataclasses.replace(solver, threshold=0.95), predict, x_t)
    np.testing.assert_allclose(bounded, out, atol=1e-3)
