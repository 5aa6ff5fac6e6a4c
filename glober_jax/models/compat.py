"""The one switch between our networks and the published ones, and all that it changes.

`config.model.compat = "reference"` computes exactly what the authors' release does, for weights
that were trained with it. The default, "none", differs in four places, where the published rule
costs quality (F is the number of index slots):

- Slot of a frame. Published: floor(index (F - 1)), so frames 0, 1, 2, ... read slots 0, 0, 1, ...
  and the last slot is never read. Ours: the index itself.
- Embedding of the index. Published: waves of the index in [0, 1) with periods of 2 pi and longer,
  by which neighbouring frames' features differ by 0.15 to 0.7 %. Ours: half-periods from one slot
  to the whole clip.
- Time courses. Published: none; the index only shifts maps before a norm. Ours: every channel of
  the frame features' skip path follows waves of the index. Without them clouds stood still.
- Shortcut. Published: none. Ours: the mean of the global feature has a linear term in all key
  frames. Without it hardly any motion passed the encoder.

The first three are in `FrameFeatures`, the last is in `VideoEncoder`. Parameters that both have
carry the same names and shapes.
"""

from typing import Literal

import jax
import jax.numpy as jnp

Compat = Literal["none", "reference"]


def reference_slot(index: jax.Array, slots: int) -> jax.Array:
    """The published slot of indices in [0, 1): floor(index (F - 1)), int32."""
    return jnp.floor(index * (slots - 1)).astype(jnp.int32)
