"""Spreads videos and their frames over the devices of a mesh.

Dimension key: B videos, n frames of each.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.typing import DTypeLike

from glober_jax.parallel.compiler_options import compiler_options
from glober_jax.parallel.rules import gather_parameters

ALL, VIDEOS, FRAMES = PartitionSpec(), PartitionSpec("videos"), PartitionSpec("videos", "frames")


def spread(
    function: Callable[..., jax.Array],
    mesh: Mesh,
    dtype: DTypeLike,
    rows: tuple[PartitionSpec, ...],
    output: PartitionSpec,
) -> Callable[[int], Any]:
    """`function(model, *rows)`, compiled so that each device of `mesh` computes its own rows.

    Rows and the output are `VIDEOS` [B, ...], `FRAMES` [B, n, ...] or `ALL`, replicated; B and n
    are those of a `piece`. Parameters in shards are gathered once, in `dtype`. Returns a function
    of B that gives the jitted one.
    """

    @functools.cache
    def compiled(videos: int) -> Any:
        ways = math.gcd(videos, mesh.size)
        grid = Mesh(mesh.devices.reshape(ways, -1), ("videos", "frames"))
        share = jax.shard_map(
            function, mesh=grid, in_specs=(ALL, *rows), out_specs=output, check_vma=False
        )

        def place(spec: PartitionSpec) -> NamedSharding:
            # Several processes give and take whole arrays: none can read another's devices.
            return NamedSharding(grid, spec if jax.process_count() == 1 else ALL)

        return jax.jit(
            lambda model, *given: share(gather_parameters(model, mesh, dtype), *given),
            in_shardings=(None, *map(place, rows)),
            out_shardings=place(output),
            compiler_options=compiler_options(mesh),
        )

    return compiled


def piece(videos: int, frames: int, devices: int, most: int) -> tuple[int, int]:
    """(videos, frames of each) to compute at once, at most `most` frames on each device.

    Minimises the frames computed, padding included, then the videos on a device. All pieces have
    this size, for one compilation.
    """

    def cut(count: int, ways: int, most: int) -> tuple[int, int]:
        """Size of a piece, and of all pieces, of `count` rows over `ways` devices."""
        each = -(-count // ways)
        pieces = -(-each // most)
        each = -(-each // pieces)
        return each * ways, each * pieces * ways

    plans = []
    for ways in range(1, devices + 1):
        if devices % ways == 0:
            frame_ways = devices // ways
            columns, all_columns = cut(frames, frame_ways, most)
            rows, all_rows = cut(videos, ways, most // (columns // frame_ways))
            plans.append((all_rows * all_columns, rows // ways, rows, columns))
    return min(plans)[2:]


def filled_up(rows: np.ndarray, size: int, axis: int = 0) -> np.ndarray:
    """The rows, the last one repeated until there are `size`."""
    return rows.take(np.minimum(np.arange(size), rows.shape[axis] - 1), axis)
