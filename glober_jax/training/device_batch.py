"""Places the loader's batches on the devices, and mirrors clips there.

Dimension key: B clips, F frames, H, W frame size, C channels.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from glober_jax.parallel.mesh import batch_sharding, put_batch
from glober_jax.training.state import Batch


def device_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> Batch:
    """Makes global arrays on the mesh of this process's rows of a batch.

    Swaps left and right of the clips that `mirrored` bool [B] marks, and drops that field.
    """
    arrays = put_batch(batch, mesh)
    return _mirror(mesh)(arrays) if "mirrored" in arrays else arrays


@functools.cache
def _mirror(mesh: Mesh) -> Callable[[Batch], Batch]:
    @functools.partial(jax.jit, out_shardings=batch_sharding(mesh))
    def mirror(batch: Batch) -> Batch:
        chosen_B1111 = batch.pop("mirrored")[:, None, None, None, None]
        for name in batch.keys() & {"key_frames", "target_frames"}:
            frames_BFHWC = batch[name]
            batch[name] = jnp.where(chosen_B1111, frames_BFHWC[:, :, :, ::-1], frames_BFHWC)
        return batch

    return mirror
