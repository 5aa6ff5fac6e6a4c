"""Runs a network over any number of clips on all devices of a mesh.

Every device takes the same number of clips at a time and runs the same program on every mesh, so
that the features of a clip do not depend on the number of devices. Dimension key: N clips, B clips
of a batch, T frames, H, W frame size, C colours.
"""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from glober_jax.parallel.mesh import replicated

# An array, or arrays by name, with clips along the first axis.
Features = Any


def per_clip(
    compute: Callable[[Any, jax.Array], Features], params: Any, mesh: Mesh, clips_per_device: int
) -> Callable[[Iterable[np.ndarray]], Features]:
    """Compiled map from clips [T, H, W, C] of one shape to host arrays [N, ...].

    Args:
      compute: (params, clips [b, T, H, W, C]) to a tree of arrays [b, ...], clips independently.
      params: replicated on all devices once.
      mesh: clips are sharded over all its axes. All processes must pass the same clips.
      clips_per_device: b; two batches are in memory at a time.
    """
    spread, size = PartitionSpec(mesh.axis_names), mesh.size * clips_per_device
    params = jax.device_put(params, replicated(mesh))
    program = jax.jit(
        jax.shard_map(compute, mesh=mesh, in_specs=(PartitionSpec(), spread), out_specs=spread),
        out_shardings=replicated(mesh),
    )

    def start(batch: list[np.ndarray]) -> Features:
        # The last batch is padded.
        clips_BTHWC = np.stack(batch + batch[-1:] * (size - len(batch)))
        # Each process copies only its shards; jax.device_put would compare the whole array first.
        clips = jax.make_array_from_callback(
            clips_BTHWC.shape, NamedSharding(mesh, spread), clips_BTHWC.__getitem__
        )
        return program(params, clips)

    def extract(clips: Iterable[np.ndarray]) -> Features:
        clips, batches, count = iter(clips), [], 0
        while batch := list(itertools.islice(clips, size)):
            batches.append(start(batch))
            count += len(batch)
            # Devices work while the next batch is read, and no further ahead.
            batches[-2:-1] = jax.device_get(batches[-2:-1])
        found = jax.device_get(batches)
        return jax.tree.map(lambda *rows: np.concatenate(rows)[:count], *found)

    return extract
