"""Runs a network over any number of clips on all devices of a mesh.

Every device takes the same number of clips at a time, however many devices there are. Its part of
the program is therefore the same on every mesh, and clips share a call with the same others: what
is measured of a clip does not depend on the number of devices.

Dimension key: N clips, B clips of a batch, T frames, H, W frame size, C colours.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from glober_jax.errors import UserError
from glober_jax.parallel.mesh import replicated

# Arrays by name, or one array: what is measured of clips, clip by clip along the first axis.
Measures = Any
Extract = Callable[[Iterable[np.ndarray]], Measures]


def per_clip(
    compute: Callable[[Any, jax.Array], Measures], params: Any, mesh: Mesh, clips_per_device: int
) -> Extract:
    """Compiled map from clips to what `compute` says of each.

    Args:
      compute: maps (params, clips [b, T, H, W, C]) to arrays [b, ...], or a tree of them, for each
        clip by itself.
      params: put on all devices once.
      mesh: its devices share the clips, whatever its axes.
      clips_per_device: b; the memory that is needed grows with it.

    Returns:
      A function of clips, each [T, H, W, C] and all of one shape, that returns host arrays
      [N, ...], in order. It holds two batches at a time. Where there are several processes, all of
      them pass the same clips. It raises `UserError` if there are none.
    """
    spread = PartitionSpec(mesh.axis_names)
    params = jax.device_put(params, replicated(mesh))
    program = jax.jit(
        jax.shard_map(compute, mesh=mesh, in_specs=(PartitionSpec(), spread), out_specs=spread),
        out_shardings=replicated(mesh),
    )

    def results(batches: Iterator[tuple[np.ndarray, np.ndarray]]) -> Iterator[Measures]:
        """Of each batch, on the host; one late, so that devices work while the next is read."""
        late = None
        for clips_BTHWC, mask_B in batches:
            # Each process puts what its devices take; jax.device_put would compare all of it first.
            clips = jax.make_array_from_callback(
                clips_BTHWC.shape, NamedSharding(mesh, spread), clips_BTHWC.__getitem__
            )
            now = program(params, clips), mask_B
            if late is not None:
                yield _rows(*late)
            late = now
        if late is None:
            raise UserError("there are no clips to measure; check where they are read from")
        yield _rows(*late)

    def extract(clips: Iterable[np.ndarray]) -> Measures:
        parts = results(_padded_batches(clips, mesh.size * clips_per_device))
        return jax.tree.map(lambda *rows: np.concatenate(rows), *parts)

    return extract


def _padded_batches(
    clips: Iterable[np.ndarray], size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches [size, T, H, W, C], the last one filled up with zeros, and masks of what is real."""
    clips = iter(clips)
    while batch := list(itertools.islice(clips, size)):
        missing = size - len(batch)
        padding = [np.zeros_like(batch[0])] * missing
        yield np.stack(batch + padding), np.arange(size) < len(batch)


def _rows(measures: Measures, mask_B: np.ndarray) -> Measures:
    return jax.tree.map(lambda rows: rows[mask_B], jax.device_get(measures))
