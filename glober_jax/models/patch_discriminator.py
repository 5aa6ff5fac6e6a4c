"""The patch discriminator: is this piece of a frame original, or has it been through the codec?

PatchGAN of pix2pix (Isola et al. 2017, arXiv 1611.07004). Dimension key: B frames, H, W frame
size, C channels, h, w patches along each side. Pixels in [-1, 1].
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from glober_jax.models.layers import Conv, GroupNorm


class PatchDiscriminator(nn.Module):
    """Frames [B, H, W, 3] -> logits [B, h, w], float32; positive means original.

    4x4 convolutions, of stride 2 but for the last level and the logits; with h = H / factor - 2.
    Each logit sees 70x70 pixels at the published multipliers (1, 2, 4, 8), 34x34 at three levels.
    Frames are normalised one by one, where the published network normalises over the batch.
    """

    channels: int = 64
    multipliers: Sequence[int] = (1, 2, 4, 8)
    groups: int = 32
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, frames_BHWC: jax.Array) -> jax.Array:
        h = frames_BHWC
        last = len(self.multipliers) - 1
        for level, multiplier in enumerate(self.multipliers):
            width, stride = multiplier * self.channels, 1 if level == last else 2
            h = Conv(width, 4, stride, dtype=self.dtype, name=f"level{level}")(h)
            if level > 0:
                h = GroupNorm(self.groups, dtype=self.dtype, name=f"level{level}_norm")(h)
            h = nn.leaky_relu(h, 0.2)
        logits = Conv(1, 4, name="logits")(h.astype(jnp.float32))
        return logits[..., 0]
