"""The guided network as samplers call it, and the scan over a sampler's steps.

Dimension key: S sampling steps; the sampled array has any shape whose leading axis is the batch.
"""

import dataclasses
import itertools
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from glober_jax.diffusion.process import DiffusionProcess

# (x_t, scalar t) -> the network's output.
Predict = Callable[[jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Interval:
    """Noise levels in [low, high], as a fraction of the training steps: 0 is clean, 1 noise."""

    low: float = 0.0
    high: float = 1.0

    def contains(self, timesteps_S: np.ndarray, num_timesteps: int) -> np.ndarray:
        """bool [S]: low <= t / T <= high."""
        level_S = np.float64(timesteps_S) / num_timesteps
        return (self.low <= level_S) & (level_S <= self.high)


EVERYWHERE = Interval()


class Predictor(NamedTuple):
    """A network, guided inside an interval of noise levels and plain outside (arXiv 2404.07724)."""

    guided: Predict
    plain: Predict
    interval: Interval = EVERYWHERE

    @classmethod
    def everywhere(cls, predict: Predict) -> "Predictor":
        return cls(predict, predict)


def scan_steps(
    step: Callable[[Predict, Any, Any], Any],
    start: Any,
    schedule: Any,
    process: DiffusionProcess,
    predictor: Predictor,
) -> Any:
    """Folds `state = step(predict, state, row)` over the rows of `schedule`, NumPy arrays [S].

    The steps are cut where guidance begins and ends into up to three `lax.scan`s, so that no step
    computes a branch that it does not use.
    """
    guided_S = predictor.interval.contains(schedule.timesteps, process.num_timesteps)
    cuts = np.flatnonzero(np.diff(guided_S)) + 1
    state = start
    for first, last in itertools.pairwise([0, *cuts.tolist(), len(guided_S)]):
        predict = predictor.guided if guided_S[first] else predictor.plain
        rows = jax.tree.map(lambda table, part=slice(first, last): table[part], schedule)
        state, _ = jax.lax.scan(
            lambda state, row, predict=predict: (step(predict, state, row), None), state, rows
        )
    return state


def thresholded(process: DiffusionProcess, predict: Predict, percentile: float) -> Predict:
    """Dynamic thresholding (Imagen, arXiv 2205.11487) of the predicted x_0, row by row.

    Latents are not bounded by 1 as pixels are, so the bound c is the same `percentile` (a fraction)
    of the absolute value of a standard normal variable:

        x_0 <- clip(x_0, -s, s) c / s   with s = max(percentile of |x_0|, c)
    """
    bound = statistics.NormalDist().inv_cdf((1.0 + percentile) / 2.0)

    def restrained(x_t: jax.Array, t: jax.Array) -> jax.Array:
        t_B = jnp.full(x_t.shape[:1], t)
        x0, _ = process.to_x0_eps(predict(x_t, t), x_t, t_B)
        axes = tuple(range(1, x0.ndim))
        limit = jnp.quantile(jnp.abs(x0), percentile, axis=axes, keepdims=True)
        limit = jnp.maximum(limit, bound)
        x0 = jnp.clip(x0, -limit, limit) * (bound / limit)
        return process.prediction_of(x0, x_t, t_B)

    return restrained
