"""The one switch between our networks and the published ones, and all that it changes.

`config.model.compat = "reference"` computes exactly what the authors' release does, for weights
that were trained with it. The default, "none", differs in the places below, where the published
rule costs quality (F is the number of index slots).

Networks:

- Slot of a frame. Published: floor(index (F - 1)), so frames 0, 1, 2, ... read slots 0, 0, 1, ...
  and the last slot is never read. Ours: the index itself.
- Embedding of the index. Published: waves of the index in [0, 1) with periods of 2 pi and longer,
  by which neighbouring frames' features differ by 0.15 to 0.7 %. Ours: half-periods from two
  slots to the whole clip. A half-period of one slot would leave a sine that is zero at every slot,
  which no training frame determines and which flips from one frame in between to the next.
- Time courses. Published: none; the index only shifts maps before a norm. Ours: every channel of
  the frame features' skip path follows waves of the index. Without them clouds stood still.
- Attention between frames. Published: over all F slots. Ours: over every second one, as many as
  the fastest wave needs.
- Estimate. Published: none. Ours, where x_0 is predicted: the UNet adds to latents that are linear
  in the global feature and begin as interpolated key frames.
- Shortcut. Published: none. Ours: the mean of the global feature has a linear term in all key
  frames. Without it hardly any motion passed the encoder.
- Heads of the encoder. Published: computed, and normalised, for all frames, one of which is read.
  Ours: for that one.
- Heads of the UNet. Published: `heads` at every level. Ours: `head_dim` channels each, where set.

Clips (`data.clips`):

- Key frames. Published: floor(k T / K), which leaves the last frames to be extrapolated. Ours: from
  the first frame to the last.
- Targets. Published: frames of the clip. Ours: with `max_stride`, frames between them, too.

Training of the autoencoder (`training.autoencoder`, `losses`):

- Dropout for guidance. Published: key frames and domain tokens are dropped independently, so that
  the branch without both is trained on 1 % of clips. Ours: one draw per clip, over the branches.
- Adversary. Published: the decoder's loss is the hinge, and its gradient passes through x_0 at full
  size. Ours: -D, and the gradient at x_0 is multiplied by the signal √ᾱ_t of the frame.

The first five are in `FrameFeatures`, shortcut and heads in `VideoEncoder`, the UNet's heads in
`experiment.config`. Parameters that both have carry the same names and shapes.
"""

from typing import Literal

import jax
import jax.numpy as jnp

Compat = Literal["none", "reference"]


def reference_slot(index: jax.Array, slots: int) -> jax.Array:
    """The published slot of indices in [0, 1): floor(index (F - 1)), int32."""
    return jnp.floor(index * (slots - 1)).astype(jnp.int32)
