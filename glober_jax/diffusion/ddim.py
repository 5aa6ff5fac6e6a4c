"""DDIM (arXiv 2010.02502): first order, at training steps; deterministic, or with noise (η > 0).

Dimension key: S sampling steps; the sampled array has any shape whose leading axis is the batch.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from glober_jax.diffusion.predictor import Predict, Predictor, scan_steps
from glober_jax.diffusion.process import DiffusionProcess, check_steps
from glober_jax.errors import UserError

StepSpacing = Literal["trailing", "leading"]


def sampling_timesteps(num_timesteps: int, steps: int, spacing: StepSpacing) -> np.ndarray:
    """The training steps that are visited, ascending int32 [S].

    "trailing" ends at the noisiest step T - 1, whose x_T is pure noise (arXiv 2305.08891).
    "leading" is the published rule 1, 1 + c, 1 + 2c, ... below T with c = T // steps, which starts
    a little lower and visits a few more steps than asked for where `steps` does not divide T.
    Raises `UserError` for a step count that the schedule cannot serve.
    """
    check_steps(num_timesteps, steps)
    if spacing == "trailing":
        return (np.round(np.arange(1, steps + 1) * num_timesteps / steps) - 1).astype(np.int32)
    timesteps = 1 + np.arange(0, num_timesteps, num_timesteps // steps, dtype=np.int32)
    if timesteps[-1] >= num_timesteps:
        raise UserError(f"leading spacing has no room for {steps} of {num_timesteps} steps")
    return timesteps


class DDIMSchedule(NamedTuple):
    """Coefficients of each DDIM step, noisiest first.

    x_prev = signal x_0 + direction ε + deviation z: √ᾱ_prev, √(1 - ᾱ_prev - s²) and
    s = η √((1 - ᾱ_prev) / (1 - ᾱ) (1 - ᾱ / ᾱ_prev)), float32 [S]; timesteps int32 [S].
    """

    timesteps: np.ndarray
    signal: np.ndarray
    direction: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(
        cls, process: DiffusionProcess, steps: int, spacing: StepSpacing, eta: float = 0.0
    ) -> "DDIMSchedule":
        """The trailing rule ends at x_0; the leading one at the noise of step 0, as published."""
        timesteps = sampling_timesteps(process.num_timesteps, steps, spacing)
        alphas = process.alphas_cumprod
        last = 1.0 if spacing == "trailing" else alphas[0]
        here = alphas[timesteps]
        previous = np.concatenate([[last], here[:-1]])
        variance = eta**2 * (1.0 - previous) / (1.0 - here) * (1.0 - here / previous)
        tables = (np.sqrt(previous), np.sqrt(1.0 - previous - variance), np.sqrt(variance))
        return cls(timesteps[::-1], *(np.float32(table[::-1]) for table in tables))


def ddim(
    process: DiffusionProcess,
    predictor: Predictor,
    x_T: jax.Array,
    steps: int,
    spacing: StepSpacing,
    eta: float = 0.0,
    draw_noise: Callable[[jax.Array], jax.Array] | None = None,
) -> jax.Array:
    """x_T to x_0, float32; the predictor gets a scalar int32 t.

    With η > 0 the step at t adds noise `draw_noise(t)`, standard normal and of the shape of x_t.
    """

    def step(predict: Predict, x_t: jax.Array, level: DDIMSchedule) -> jax.Array:
        noise = draw_noise(level.timesteps) if eta else None
        return ddim_step(process, level, x_t, predict(x_t, level.timesteps), noise)

    schedule = DDIMSchedule.of(process, steps, spacing, eta)
    return scan_steps(step, x_T.astype(jnp.float32), schedule, process, predictor)


def ddim_step(
    process: DiffusionProcess,
    level: DDIMSchedule,
    x_t: jax.Array,
    prediction: jax.Array,
    noise: jax.Array | None = None,
) -> jax.Array:
    """x_prev of one step; `level` is one row of a schedule, `noise` is for η > 0."""
    t_B = jnp.full(x_t.shape[:1], level.timesteps)
    x0, eps = process.to_x0_eps(prediction, x_t, t_B)
    x_prev = level.signal * x0 + level.direction * eps
    return x_prev if noise is None else x_prev + level.deviation * noise
