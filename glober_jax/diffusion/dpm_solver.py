"""DPM-Solver++(2M): second order, deterministic (Lu et al. 2022, arXiv 2211.01095, algorithm 2).

With a = √ᾱ, s = √(1-ᾱ), λ = log(a/s), a step from level i to i + 1 has h_i = λ_{i+1} - λ_i and

    x_{i+1} = s_{i+1}/s_i x_i + a_{i+1} (1 - e^(-h_i)) D_i
    D_i     = x̂_i + h_i / (2 h_{i-1}) (x̂_i - x̂_{i-1})      x̂_i the x_0 predicted at level i

D is the predicted x_0 in the middle of the step, extrapolated from the step before. The first step
has none before it, and the last goes to λ = ∞, to x_0: both take D = x̂, which is DDIM's step.
Dimension key: S sampling steps; the sampled array has any shape whose leading axis is the batch.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from glober_jax.diffusion.predictor import Predict, Predictor, scan_steps
from glober_jax.diffusion.process import DiffusionProcess
from glober_jax.diffusion.timesteps import LevelSpacing, sampling_levels


class DPMSchedule(NamedTuple):
    """Coefficients of each step, noisiest first: float32 [S].

    x_next = keep x + gain (x̂ + extrapolate (x̂ - x̂ of the step before)). The timesteps are real
    numbers, as the levels lie between those of training.
    """

    timesteps: np.ndarray
    keep: np.ndarray
    gain: np.ndarray
    extrapolate: np.ndarray

    @classmethod
    def of(cls, process: DiffusionProcess, steps: int, spacing: LevelSpacing) -> "DPMSchedule":
        levels = sampling_levels(process, steps, spacing)
        signal, noise = _sqrt_sigmoid(levels), _sqrt_sigmoid(-levels)
        h = np.diff(levels)
        extrapolate = np.zeros(steps)
        extrapolate[1:-1] = h[1:] / (2.0 * h[:-1])
        keep = np.append(noise[1:] / noise[:-1], 0.0)
        gain = np.append(-signal[1:] * np.expm1(-h), 1.0)
        return cls(*map(np.float32, (process.timesteps_of(levels), keep, gain, extrapolate)))


def dpm_solver(
    process: DiffusionProcess,
    predictor: Predictor,
    x_T: jax.Array,
    steps: int,
    *,
    spacing: LevelSpacing = "log_snr",
) -> jax.Array:
    """x_T to x_0, float32; the predictor is given a scalar float32 t."""

    def step(
        predict: Predict, state: tuple[jax.Array, jax.Array], level: DPMSchedule
    ) -> tuple[jax.Array, jax.Array]:
        x_t, before = state
        t_B = jnp.full(x_t.shape[:1], level.timesteps)
        x0, _ = process.to_x0_eps(predict(x_t, level.timesteps), x_t, t_B)
        middle = x0 + level.extrapolate * (x0 - before)
        return level.keep * x_t + level.gain * middle, x0

    x_T = x_T.astype(jnp.float32)
    schedule = DPMSchedule.of(process, steps, spacing)
    return scan_steps(step, (x_T, jnp.zeros_like(x_T)), schedule, process, predictor)[0]


def _sqrt_sigmoid(half_log_snr: np.ndarray) -> np.ndarray:
    """√(1 / (1 + e^(-2λ))): √ᾱ of λ, and √(1-ᾱ) of -λ."""
    return np.sqrt(1.0 / (1.0 + np.exp(-2.0 * half_log_snr)))
