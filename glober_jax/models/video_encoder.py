"""The video encoder: the key frames of a clip become one global feature with a KL prior.

Dimension key: B clips, K key frames, T = K + 1 frames with the learned one in front, h, w latent
size, Z latent channels, H = h / 2^(levels - 1), W likewise, G global-feature channels.
Published size (3.3 of the reference): channels 320, multipliers (1, 2), two blocks per level,
G = 16: latents [B, 8, 32, 32, 4] -> global feature [B, 16, 16, 16].
"""

import functools
from collections.abc import Sequence
from typing import Any

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from glober_jax.models.attention import factorised_block
from glober_jax.models.compat import Compat
from glober_jax.models.latents import Gaussian
from glober_jax.models.layers import Conv3D, Dense, GroupNorm, Remat, lecun_normal


class VideoEncoder(nn.Module):
    """Key-frame latents [B, K, h, w, Z] -> Gaussian over global features [B, H, W, G].

    mean = linear(latents under the cell, of all key frames) + network. The linear shortcut is
    initialised as the cosine transform over time (`temporal_cosines`), which gives motion its own
    channels from the first step. `compat` "reference" is the published encoder: without shortcut,
    and with heads that compute all frames, of which one is used.

    `initial_log_variance` is that of the posterior before training; at 0, as published, its noise
    is as large as the prior, and short runs spend most of their steps on unlearning that.
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
        # The global feature is gathered in a learned frame in front of the clip.
        query = self.param("global_query", nn.initializers.normal(1.0), frame_shape, jnp.float32)
        query = jnp.broadcast_to(query, (batch, 1, *frame_shape)).astype(latents_BKhwZ.dtype)
        h = jnp.concatenate([query, latents_BKhwZ], axis=1)

        h = Conv3D(self.channels, dtype=self.dtype, name="conv_in")(h)
        for level, multiplier in enumerate(self.multipliers):
            attended = level in self.attention_levels
            for block in range(self.blocks_per_level):
                width, name = multiplier * self.channels, f"level{level}_block{block}"
                h = factorised_block(self, h, width, name, attended, attended)
            if level < len(self.multipliers) - 1:
                h = Conv3D(h.shape[-1], stride=2, dtype=self.dtype, name=f"level{level}_down")(h)
        if self.compat == "reference":
            mean = self._head(h, "mean")
        else:
            mean = self._shortcut(latents_BKhwZ) + self._head(h, "mean", zero_init=True)
        constant = nn.initializers.constant(self.initial_log_variance)
        log_variance = self._head(h, "log_variance", zero_init=True, bias_init=constant)
        return Gaussian.from_moments(jnp.concatenate([mean, log_variance], -1))

    def _shortcut(self, latents_BKhwZ: jax.Array) -> jax.Array:
        """A linear map of all latents under one cell of the global feature, of all key frames."""
        cell = 2 ** (len(self.multipliers) - 1)
        pattern = "b k (h p) (w q) z -> b h w (k p q z)"
        cells = einops.rearrange(latents_BKhwZ, pattern, p=cell, q=cell)
        keys, latent_channels = latents_BKhwZ.shape[1], latents_BKhwZ.shape[-1]
        init = functools.partial(temporal_cosines, keys=keys, latent_channels=latent_channels)
        dense = Dense(self.global_channels, kernel_init=init, dtype=self.dtype, name="shortcut")
        return dense(cells)

    def _head(self, h_BTHWC: jax.Array, name: str, **init: Any) -> jax.Array:
        """Moments from the learned frame; the published norm sees every frame."""
        if self.compat == "none":
            # The frames that the convolution reaches from the first.
            h_BTHWC = h_BTHWC[:, :2]
        h = Conv3D(self.global_channels, dtype=self.dtype, name=f"{name}_conv")(h_BTHWC)
        if self.compat == "none":
            h = h[:, :1]
        h = GroupNorm(self.groups, axes=(1, 2, 3), dtype=self.dtype, name=f"{name}_norm")(h)
        out = Dense(self.global_channels, dtype=self.dtype, name=f"{name}_out", **init)
        return out(nn.silu(h[:, 0]))


def temporal_cosines(
    key: jax.Array, shape: tuple[int, int], dtype: DTypeLike, *, keys: int, latent_channels: int
) -> jax.Array:
    """Initial kernel [K P Z, G] of the shortcut: row (k, p, z), place p of P in the cell.

    Column m Z + z, for frequencies m = 0, 1, ... < K, is the m-th coefficient of the orthonormal
    cosine transform (DCT-II) over the K key frames of latent channel z, averaged over the cell.
    Columns beyond K Z are drawn.
    """
    rows, columns = shape
    places, eye = rows // (keys * latent_channels), np.eye(latent_channels)
    kernel = np.einsum("km,p,yz->kpymz", cosine_transform(keys), np.full(places, 1 / places), eye)
    kernel = jnp.asarray(kernel.reshape(rows, -1)[:, :columns], dtype)
    drawn = (rows, columns - kernel.shape[1])
    return jnp.concatenate([kernel, lecun_normal(key, drawn, dtype)], 1) if drawn[1] else kernel


def cosine_transform(size: int) -> np.ndarray:
    """The orthonormal DCT-II as a matrix [size, size]: time step k, frequency m."""
    k, m = np.arange(size)[:, None], np.arange(size)
    return np.cos(np.pi / size * (k + 0.5) * m) * np.where(m == 0, 1.0, 2**0.5) / size**0.5
