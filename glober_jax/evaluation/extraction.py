"""Runs a network over any number of clips on all devices of a mesh.

Every device takes the same number of clips at a time, however many devices there are. Its part of
the program is therefore the same on every mesh, and clips share a call with the same others: what
is measured of a clip does not depend on the number of devices.

Dimension key: N clips, B clips of a batch, T frames, H, W frame size, C colours.
"""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from glober_jax.parallel.mesh import replicated

# An array, or arrays by name: features of clips along the first axis.
Features = Any


def per_clip(
    compute: Callable[[Any, jax.Array], Features], params: Any, mesh: Mesh, clips_per_device: int
) -> Callable[[Iterable[np.ndarray]], Features]:
    """Compiled map from clips, each [T, H, W, C] and all of one shape, to host arrays [N, ...].

    It holds two batches at a time. Where there are several processes, all pass the same clips.

    Args:
      compute: maps (params, clips [b, T, H, W, C]) to arrays [b, ...], or a tree of them, for each
        clip by itself.
      params: put on all devices once.
      mesh: its devices share the clips, whatever its axes.
      clips_per_device: b.
    """
    spread, size = PartitionSpec(mesh.axis_names), mesh.size * clips_per_device
    params = jax.device_put(params, replicated(mesh))
    program = jax.jit(
        jax.shard_map(compute, mesh=mesh, in_specs=(PartitionSpec(), spread), out_specs=spread),
        out_shardings=replicated(mesh),
    )

    def start(batch: list[np.ndarray]) -> Features:
        # The last batch is filled up.
        clips_BTHWC = np.stack(batch + batch[-1:] * (size - len(batch)))
        # Each process puts what its devices take; jax.device_put would compare all of it first.
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
