"""DPM-Solver++(2M): second order, deterministic (Lu et al. 2022, arXiv 2211.01095, algorithm 2).

With a = √ᾱ, s = √(1-ᾱ), λ = log(a/s), a step from level i to i + 1 has h_i = λ_{i+1} - λ_i and

    x_{i+1} = s_{i+1}/s_i x_i + a_{i+1} (1 - e^(-h_i)) D_i
    D_i     = x̂_i + h_i / (2 h_{i-1}) (x̂_i - x̂_{i-1})      x̂_i the x_0 predicted at level i

D is the predicted x_0 in the middle of the step, extrapolated from the step before. The first step
has none before it, and the last goes to λ = ∞, to x_0: both take D = x̂, which is DDIM's step.
Dimension key: S sampling steps; the sampled array has any shape whose leading axis is the batch.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from glober_jax.diffusion.predictor import Predict, Predictor, scan_steps
from glober_jax.diffusion.process import DiffusionProcess, check_steps

LevelSpacing = Literal["log_snr", "karras"]

# Karras et al. 2022 (arXiv 2206.00364), below equation 5.
_KARRAS_RHO = 7.0


def sampling_levels(process: DiffusionProcess, steps: int, spacing: LevelSpacing) -> np.ndarray:
    """The λ that are visited, ascending float64 [S], from that of step T - 1 to that of step 0.

    "log_snr" spaces λ evenly; "karras" spaces the 7th root of the noise-to-signal ratio, e^(-λ/7),
    evenly (arXiv 2206.00364, equation 5). A single step starts from pure noise. Raises `UserError`
    for a step count that the schedule cannot serve.
    """
    check_steps(process.num_timesteps, steps)
    noisiest, cleanest = process.half_log_snr[[-1, 0]]
    if spacing == "log_snr":
        return np.linspace(noisiest, cleanest, steps)
    ends = np.exp(-np.array([noisiest, cleanest]) / _KARRAS_RHO)
    return -_KARRAS_RHO * np.log(np.linspace(*ends, steps))


class DPMSchedule(NamedTuple):
    """Coefficients of each step, noisiest first: float32 [S].

    x_next = keep x + gain (x̂ + extrapolate (x̂ - x̂ of the step before)). The timesteps are real
    numbers, because the levels lie between those of training.
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
    spacing: LevelSpacing,
) -> jax.Array:
    """x_T to x_0, float32; the predictor gets a scalar float32 t."""

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
