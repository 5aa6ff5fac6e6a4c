"""Samplers: from noise to x_0 in a given number of network calls, one `lax.scan`.

Dimension key: S sampling steps; the sampled array has any shape whose leading axis is the batch.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from glober_jax.diffusion.process import DiffusionProcess
from glober_jax.errors import UserError

Spacing = Literal["trailing", "leading"]
Predict = Callable[[jax.Array, jax.Array], jax.Array]


def sampling_timesteps(num_timesteps: int, steps: int, spacing: Spacing) -> np.ndarray:
    """The S training steps that are visited, ascending int32 [S].

    "trailing" ends at the noisiest step T - 1, so sampling starts from what pure noise stands for
    (arXiv 2305.08891); "leading" is the published rule 1 + k (T // S), which starts a little
    below. Raises `UserError` for a step count that the schedule cannot serve.
    """
    if not 1 <= steps <= num_timesteps:
        raise UserError(f"sampling steps must lie in 1..{num_timesteps}, got {steps}")
    if spacing == "trailing":
        return (np.round(np.arange(1, steps + 1) * num_timesteps / steps) - 1).astype(np.int32)
    if (steps - 1) * (num_timesteps // steps) + 1 >= num_timesteps:
        raise UserError(f"leading spacing has no room for {steps} of {num_timesteps} steps")
    return (1 + np.arange(steps) * (num_timesteps // steps)).astype(np.int32)


def ddim(
    process: DiffusionProcess,
    predict: Predict,
    x_T: jax.Array,
    steps: int,
    *,
    spacing: Spacing = "trailing",
) -> jax.Array:
    """Deterministic DDIM (arXiv 2010.02502, η = 0) from x_T to x_0, float32.

    `predict(x_t, t)` is the network (with its guidance), given a scalar int32 t. Each step is
    x_0 = x0(prediction), x_prev = √ᾱ_prev x_0 + √(1-ᾱ_prev) ε. The trailing rule returns the last
    x_0; the leading one stops at the noise level of step 0, as published.
    """
    timesteps = sampling_timesteps(process.num_timesteps, steps, spacing)
    alphas = process.alphas_cumprod
    last = 1.0 if spacing == "trailing" else alphas[0]
    previous = np.concatenate([[last], alphas[timesteps[:-1]]])
    schedule = (
        jnp.asarray(timesteps[::-1].copy()),
        jnp.asarray(np.sqrt(previous[::-1]), jnp.float32),
        jnp.asarray(np.sqrt(1.0 - previous[::-1]), jnp.float32),
    )

    def step(x_t: jax.Array, level: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        t, signal, noise = level
        t_B = jnp.full(x_t.shape[:1], t)
        x0, eps = process.to_x0_eps(predict(x_t, t), x_t, t_B)
        return signal * x0 + noise * eps, None

    return jax.lax.scan(step, x_T.astype(jnp.float32), schedule)[0]
