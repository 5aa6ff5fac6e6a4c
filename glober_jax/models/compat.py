"""The one switch between our networks and the published ones.

`config.model.compat = "reference"` computes what the authors' release does, for weights that were
trained with it, where the default, "none", does not: in `FrameFeatures`, `VideoEncoder`, the choice
of frames (`data.clips`), guidance dropout and adversary (`training.autoencoder`, `losses`).
docs/differences.md lists each difference and why. Parameters that both have carry the same names
and shapes.
"""

from typing import Literal

import jax
import jax.numpy as jnp

Compat = Literal["none", "reference"]


def reference_slot(index: jax.Array, slots: int) -> jax.Array:
    """The published slot of indices in [0, 1): floor(index (F - 1)), int32."""
    return jnp.floor(index * (slots - 1)).astype(jnp.int32)
