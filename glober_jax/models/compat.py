"""The one switch between our networks and the published ones, and all that it changes.

`config.model.compat = "reference"` computes exactly what the authors' release does, for weights
that were trained with it. The default, "none", differs in four places, each because the published
rule cost quality:

| where | published | ours | why |
|---|---|---|---|
| `FrameFeatures`: slot | floor(index (F - 1)) | the index itself | frames 0, 1, 2, ... read slots 0, 0, 1, ...; slot F - 1 is never read |
| `FrameFeatures`: embedding | sin and cos of the index in [0, 1), period up to 10000 | half-periods from one slot to the clip | neighbouring frames differed by 0.15 to 0.7 % |
| `FrameFeatures`: time courses | none | channels of the skip path follow waves of the index | without them clouds stood still |
| `VideoEncoder`: shortcut | none | the mean has a linear term in all key frames | hardly any motion passed the encoder |

Parameters that both have carry the same names and shapes. F is the number of slots, `index_slots`.
"""

from typing import Literal

import jax
import jax.numpy as jnp

Compat = Literal["none", "reference"]


def reference_slot(index: jax.Array, slots: int) -> jax.Array:
    """The published slot of indices in [0, 1): floor(index (F - 1)), int32."""
    return jnp.floor(index * (slots - 1)).astype(jnp.int32)
