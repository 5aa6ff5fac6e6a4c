"""Statistics of the latents that a stage diffuses, measured before its first step.

Dimension key: N clips, F frames, H, W, C of frames or latents.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from glober_jax.models.latents import ChannelScale
from glober_jax.models.networks import Params
from glober_jax.parallel.mesh import replicated
from glober_jax.training.device_batch import device_batch

_LEAST_CLIPS = 256


def measured_scale(
    compute: Callable[[Params, jax.Array, jax.Array], jax.Array],
    model: Any,
    batches: Iterator[dict[str, np.ndarray]],
    field: str,
    mesh: Mesh,
) -> ChannelScale:
    """Mean and deviation of each channel over the first 256 clips of `batches`.

    `compute` is a pure (model, rows [N, F, H, W, C], batch number) -> values, channels last; the
    rows are those of `field`, of all processes. `model` is an argument because shards on other
    processes cannot be closed over.
    """
    compute = jax.jit(compute, out_shardings=replicated(mesh))
    values, clips = [], 0
    for number, batch in enumerate(batches):
        needed = {name: batch[name] for name in (field, "mirrored") if name in batch}
        rows_NFHWC = device_batch(needed, mesh)[field]
        values.append(jax.device_get(compute(model, rows_NFHWC, number)))
        clips += len(rows_NFHWC)
        if clips >= _LEAST_CLIPS:
            break
    return ChannelScale.measure(np.concatenate(values))
