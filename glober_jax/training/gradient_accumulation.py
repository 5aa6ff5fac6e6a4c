"""Gradient accumulation over micro-batches.

Dimension key: B clips of a batch, k micro-batches, d devices that a batch is sharded over,
r = B / (k d) clips of a micro-batch on a device.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from glober_jax.parallel.mesh import BATCH_AXES, batch_ways, constrain_batch
from glober_jax.parallel.rules import tree_shardings


def accumulate_gradients(compute: Callable[[Any], Any], rows: Any, count: int, mesh: Mesh) -> Any:
    """The mean of `compute(part)` over `count` equal parts of `rows`, in turn; inside jit.

    `rows` is a pytree of arrays [B, ...]; `compute` returns a pytree of means over clips, and
    draws no random numbers. Sums are float32.
    """
    if count == 1:
        return compute(rows)
    parts = jax.tree.map(lambda leaf: _cut(leaf, count, mesh), rows)

    def add(total: Any, part: Any) -> tuple[Any, None]:
        part = jax.tree.map(lambda leaf: constrain_batch(leaf, mesh), part)
        total = jax.tree.map(jnp.add, total, compute(part))
        return jax.lax.with_sharding_constraint(total, tree_shardings(total, mesh)), None

    first = jax.tree.map(lambda leaf: leaf[0], parts)
    zeros = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, jnp.float32), jax.eval_shape(compute, first)
    )
    total, _ = jax.lax.scan(add, zeros, parts)
    return jax.tree.map(lambda leaf: leaf / count, total)


def _cut(rows_B: jax.Array, count: int, mesh: Mesh) -> jax.Array:
    """[B, ...] -> [k, B / k, ...] without moving rows between devices.

    A part consists of runs of r rows of the batch; so where s divides r, each s-th row of a part is
    an s-th row of the batch.
    """
    ways = batch_ways(mesh)
    rows_dkr = rows_B.reshape(ways, count, -1, *rows_B.shape[1:])
    rows_kdr = _spread(rows_dkr, 0, mesh).swapaxes(0, 1)
    rows_kB = _spread(rows_kdr, 1, mesh).reshape(count, -1, *rows_B.shape[1:])
    return _spread(rows_kB, 1, mesh)


def _spread(rows: jax.Array, axis: int, mesh: Mesh) -> jax.Array:
    spec = PartitionSpec(*(None,) * axis, BATCH_AXES)
    return jax.lax.with_sharding_constraint(rows, NamedSharding(mesh, spec))
