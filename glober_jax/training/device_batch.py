"""Batches of the loader on the devices, complete.

Dimensions: B batch, F frames, H rows, W columns, C channels.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from glober_jax.parallel.mesh import batch_sharding, put_batch

_MIRRORED = "mirrored"
_FRAMES = ("key_frames", "target_frames")

Batch = dict[str, jax.Array]


def device_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> Batch:
    """This process's rows of a batch become global arrays on the mesh.

    The clips that `mirrored` bool [B] marks get left and right swapped, and that field is gone.
    """
    arrays = put_batch(batch, mesh)
    return _mirror(mesh)(arrays) if _MIRRORED in arrays else arrays


@functools.cache
def _mirror(mesh: Mesh) -> Callable[[Batch], Batch]:
    @functools.partial(jax.jit, out_shardings=batch_sharding(mesh))
    def mirror(batch: Batch) -> Batch:
        def mirrored(frames_BFHWC: jax.Array) -> jax.Array:
            chosen_B1111 = batch[_MIRRORED][:, None, None, None, None]
            return jnp.where(chosen_B1111, frames_BFHWC[:, :, :, ::-1], frames_BFHWC)

        return {
            name: mirrored(rows) if name in _FRAMES else rows
            for name, rows in batch.items()
            if name != _MIRRORED
        }

    return mirror
