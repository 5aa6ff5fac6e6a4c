"""Discriminators: of ordered pairs of frames, and of patches of single frames.

Dimension key: P pairs, T = 2 frames of a pair, B frames, H, W frame size, C channels, h, w patches
along each side. Pixels in [-1, 1]. Published size of the pair discriminator (3.7 of the reference):
channels 64, multipliers (1, 2, 3, 4, 4), 256x256 frames.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from glober_jax.models.attention import factorised_block
from glober_jax.models.layers import Conv, Conv3D, Dense, GroupNorm, Remat


class PairDiscriminator(nn.Module):
    """Ordered frame pairs [P, 2, H, W, 3] -> logits [P], float32; positive means real.

    A learned embedding of the pair's shape tells the first frame from the second.
    """

    channels: int = 64
    multipliers: Sequence[int] = (1, 2, 3, 4, 4)
    blocks_per_level: int = 1
    temporal_levels: Sequence[int] = (1, 2, 3, 4)
    spatial_levels: Sequence[int] = (4,)
    head_dim: int = 32
    groups: int = 32
    remat: Remat = "none"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, pairs_PTHWC: jax.Array) -> jax.Array:
        pair_shape = pairs_PTHWC.shape[1:]
        order = self.param("order", nn.initializers.normal(1.0), pair_shape, jnp.float32)
        h = Conv3D(self.channels, dtype=self.dtype, name="conv_in")(pairs_PTHWC + order)
        for level, multiplier in enumerate(self.multipliers):
            if level > 0:
                h = Conv3D(h.shape[-1], stride=2, dtype=self.dtype, name=f"level{level}_down")(h)
            spatial, temporal = level in self.spatial_levels, level in self.temporal_levels
            for block in range(self.blocks_per_level):
                width, name = multiplier * self.channels, f"level{level}_block{block}"
                h = factorised_block(self, h, width, name, spatial, temporal)
        h = Conv3D(self.channels, dtype=self.dtype, name="conv_out")(h)
        h = nn.silu(GroupNorm(self.groups, axes=(1, 2, 3), dtype=self.dtype, name="norm_out")(h))
        pooled = h.astype(jnp.float32).mean((1, 2, 3))
        return Dense(1, name="logit")(pooled)[:, 0]


class PatchDiscriminator(nn.Module):
    """Frames [B, H, W, 3] -> logits [B, h, w], float32; positive means original, not reconstructed.

    PatchGAN of pix2pix (Isola et al. 2017, arXiv 1611.07004): 4x4 convolutions, of stride 2 but for
    the last level and the logits; h = H / factor - 2. Each logit sees 70x70 pixels at the published
    multipliers (1, 2, 4, 8), 34x34 at three levels. Frames are normalised one by one, where the
    published network normalises over the batch.
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
