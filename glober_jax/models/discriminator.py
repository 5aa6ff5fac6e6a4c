"""The pair discriminator: does this ordered pair of frames come from one real video?

Dimension key: P pairs, T = 2 frames of a pair, H, W frame size, C channels. Pixels in [-1, 1].
Published size (3.7 of the reference): channels 64, multipliers (1, 2, 3, 4, 4), 256x256 frames.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from glober_jax.models.attention import SelfAttention, TemporalAttention
from glober_jax.models.layers import Conv3D, Dense, GroupNorm, ResBlock
from glober_jax.models.remat import Remat, rematerialised


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
            for block in range(self.blocks_per_level):
                h = self._block(h, level, multiplier * self.channels, f"level{level}_block{block}")
        h = Conv3D(self.channels, dtype=self.dtype, name="conv_out")(h)
        h = nn.silu(GroupNorm(self.groups, axes=(1, 2, 3), dtype=self.dtype, name="norm_out")(h))
        pooled = h.astype(jnp.float32).mean((1, 2, 3))
        return Dense(1, name="logit")(pooled)[:, 0]

    def _block(self, h_PTHWC: jax.Array, level: int, channels: int, name: str) -> jax.Array:
        """Residual block, attention within a frame, attention between the two at each pixel."""
        pairs, frames, *map_shape = h_PTHWC.shape
        kinds = (ResBlock, SelfAttention, TemporalAttention)
        residual, spatial, temporal = (rematerialised(kind, self.remat) for kind in kinds)
        h = h_PTHWC.reshape(pairs * frames, *map_shape)
        h = residual(channels, self.groups, dtype=self.dtype, name=f"{name}_residual")(h)
        if level in self.spatial_levels:
            h = spatial(self.head_dim, self.groups, self.dtype, name=f"{name}_spatial")(h)
        h = h.reshape(pairs, frames, *h.shape[1:])
        if level in self.temporal_levels:
            h = temporal(self.head_dim, self.groups, self.dtype, name=f"{name}_temporal")(h)
        return h
