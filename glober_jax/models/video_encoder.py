"""The video encoder: the key frames of a clip become one global feature with a KL prior.

Dimension key: B clips, K key frames, T = K + 1 frames with the learned one in front, h, w latent
size, Z latent channels, H = h / 2^(levels - 1), W likewise, G global-feature channels.
Published size (3.3 of the reference): channels 320, multipliers (1, 2), two blocks per level,
G = 16: latents [B, 8, 32, 32, 4] -> global feature [B, 16, 16, 16].
"""

from collections.abc import Sequence
from typing import Any

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from glober_jax.models.compat import Compat
from glober_jax.models.latents import Gaussian
from glober_jax.models.layers import (
    Conv3D,
    Dense,
    GroupNorm,
    ResBlock,
    SelfAttention,
    TemporalAttention,
)
from glober_jax.models.remat import Remat, rematerialised


class VideoEncoder(nn.Module):
    """Key-frame latents [B, K, h, w, Z] -> Gaussian over global features [B, H, W, G].

    mean = linear(latents under the cell, of all key frames) + what the network adds to it. The
    published encoder is the second term alone. Attention over time starts as an average of the
    key frames and the head's norm divides by what stands still, so almost nothing of the motion
    is left in its feature; with the linear term motion is there from the first step. `compat`
    "reference" leaves it out.

    `initial_log_variance` is that of the posterior before training: 0, as published, starts with
    noise as large as the prior, which short runs spend most of their steps unlearning.
    """

    channels: int = 320
    multipliers: Sequence[int] = (1, 2)
    blocks_per_level: int = 2
    attention_levels: Sequence[int] = (0, 1)
    global_channels: int = 16
    initial_log_variance: float = 0.0
    head_dim: int = 64
    groups: int = 32
    compat: Compat = "none"
    remat: Remat = "none"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, latents_BKhwZ: jax.Array) -> Gaussian:
        batch, _, *frame_shape = latents_BKhwZ.shape
        # A learned frame in front of the clip: the place where the global feature is gathered.
        query = self.param("global_query", nn.initializers.normal(1.0), frame_shape, jnp.float32)
        query = jnp.broadcast_to(query, (batch, 1, *frame_shape)).astype(latents_BKhwZ.dtype)
        h = jnp.concatenate([query, latents_BKhwZ], axis=1)

        h = Conv3D(self.channels, dtype=self.dtype, name="conv_in")(h)
        for level, multiplier in enumerate(self.multipliers):
            for block in range(self.blocks_per_level):
                h = self._block(h, level, multiplier * self.channels, f"level{level}_block{block}")
            if level < len(self.multipliers) - 1:
                h = Conv3D(h.shape[-1], stride=2, dtype=self.dtype, name=f"level{level}_down")(h)
        if self.compat == "reference":
            mean = self._head(h, "mean")
        else:
            mean = self._shortcut(latents_BKhwZ) + self._head(h, "mean", zero_init=True)
        constant = nn.initializers.constant(self.initial_log_variance)
        log_variance = self._head(h, "log_variance", zero_init=True, bias_init=constant)
        return Gaussian.from_moments(jnp.concatenate([mean, log_variance], -1))

    def _block(self, h_BTHWC: jax.Array, level: int, channels: int, name: str) -> jax.Array:
        """Residual block and spatial attention per frame, then attention over time per pixel."""
        batch, frames, *map_shape = h_BTHWC.shape
        kinds = (ResBlock, SelfAttention, TemporalAttention)
        residual, spatial, temporal = (rematerialised(kind, self.remat) for kind in kinds)
        h = h_BTHWC.reshape(batch * frames, *map_shape)
        h = residual(channels, self.groups, dtype=self.dtype, name=f"{name}_residual")(h)
        if level not in self.attention_levels:
            return h.reshape(batch, frames, *h.shape[1:])
        h = spatial(self.head_dim, self.groups, self.dtype, name=f"{name}_spatial")(h)
        h = h.reshape(batch, frames, *h.shape[1:])
        return temporal(self.head_dim, self.groups, self.dtype, name=f"{name}_temporal")(h)

    def _shortcut(self, latents_BKhwZ: jax.Array) -> jax.Array:
        """All latents under one cell of the global feature, of all key frames, by a linear map."""
        cell = 2 ** (len(self.multipliers) - 1)
        cells = einops.rearrange(
            latents_BKhwZ, "b k (h p) (w q) z -> b h w (k p q z)", p=cell, q=cell
        )
        return Dense(self.global_channels, dtype=self.dtype, name="shortcut")(cells)

    def _head(self, h_BTHWC: jax.Array, name: str, **init: Any) -> jax.Array:
        """Moments are read off the learned frame; the norm still sees every frame."""
        h = Conv3D(self.global_channels, dtype=self.dtype, name=f"{name}_conv")(h_BTHWC)
        h = GroupNorm(self.groups, axes=(1, 2, 3), dtype=self.dtype, name=f"{name}_norm")(h)
        out = Dense(self.global_channels, dtype=self.dtype, name=f"{name}_out", **init)
        return out(nn.silu(h[:, 0]))
