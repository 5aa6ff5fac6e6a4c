"""The video decoder: global feature + normalized index -> denoised frame latents.

Three networks. `FrameFeatures` and `GlobalTokens` do not depend on the noise: they run once per
clip. `UNet` runs once per frame and denoising step, and frames never exchange information in it.

Dimension key: B clips, n target frames, F slots of the index grid, M waves of a time course,
N = B * n frames, H, W size of the global feature, G its channels, h, w size at a level of the
UNet, Z latent channels, C feature channels, L global tokens, E token width.
Published size: channels 320, multipliers (1, 2, 4, 4), E = 768 (3.4 to 3.6 of the reference).
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from glober_jax.models.attention import SpatialTransformer, TemporalAttention
from glober_jax.models.compat import Compat, reference_slot
from glober_jax.models.layers import (
    Conv,
    Dense,
    GroupNorm,
    Remat,
    ResBlock,
    average_pool,
    rematerialised,
    sinusoidal_embedding,
    upsample,
)
from glober_jax.models.video_encoder import cosine_transform

# Sines and cosines that the time course of a feature channel is made of.
_COURSE_WAVES = 32


def _embedding_mlp(waves: jax.Array, dtype: DTypeLike, name: str) -> jax.Array:
    """Dense, SiLU, Dense of a sin/cos embedding: [..., C] -> [..., 4 C]."""
    width = 4 * waves.shape[-1]
    h = nn.silu(Dense(width, dtype=dtype, name=f"{name}_in")(waves.astype(dtype)))
    return Dense(width, dtype=dtype, name=f"{name}_out")(h)


def index_waves(index: jax.Array, slots: int, count: int) -> jax.Array:
    """Sines and cosines of indices [...]: [..., count], half-periods from two slots to the clip.

    Faster ones would not be determined by frames one slot apart: a sine with a half-period of one
    slot is zero at all of them, and changes its sign from one place in between to the next.
    """
    return sinusoidal_embedding(jnp.pi * slots / 2 * index, count, max_period=slots / 2)


class FrameFeatures(nn.Module):
    """Global feature [B, H, W, G] and indices [B, n] -> one map [B, n, h, w, C] per UNet level.

    Target frames attend to a grid of indices, every second of the F slots {0, 1/F, ..., (F-1)/F},
    as many as the fastest wave of the index needs. For a target on the grid this equals computing
    the whole grid and picking the frame, and it is defined for any real index.

    Attributes:
      channels: width of the embedded index.
      widths: channels of the maps (`UNet.feature_widths`).
      estimate_channels: Z > 0 adds one more map, [B, n, h, w, Z], see `LinearEstimate`; for
        networks that predict x_0.
      reads_global: False computes the maps of a zero feature (an ablation).
      compat: "reference" has all slots for its grid, rounds the index to the published slot, embeds
        it unscaled and has no time courses.
    """

    channels: int = 320
    widths: Sequence[int] = (320, 320, 640, 1280)
    global_downsamples: int = 1
    index_slots: int = 16
    head_dim: int = 64
    groups: int = 32
    estimate_channels: int = 0
    key_index: Sequence[float] = ()
    reads_global: bool = True
    compat: Compat = "none"
    remat: Remat = "none"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, global_BHWG: jax.Array, index_Bn: jax.Array) -> tuple[jax.Array, ...]:
        if not self.reads_global:
            global_BHWG = jnp.zeros_like(global_BHWG)
        slots = self.index_slots
        grid_F = jnp.arange(0, slots, 1 if self.compat == "reference" else 2) / slots
        grid_BF = jnp.broadcast_to(grid_F, (index_Bn.shape[0], *grid_F.shape))
        if self.compat == "reference":
            index_Bn = reference_slot(index_Bn, slots) / slots
        all_BF, courses = jnp.concatenate([grid_BF, index_Bn], axis=1), None
        if self.compat == "reference":
            waves = sinusoidal_embedding(all_BF, self.channels)
        else:
            waves = index_waves(all_BF, slots, self.channels)
            courses = index_waves(all_BF, slots, _COURSE_WAVES)
        embedding = _embedding_mlp(waves, self.dtype, "index")

        features, previous = [], None
        for level, width in enumerate(self.widths):
            previous = rematerialised(FrameBlock, self.remat)(
                width,
                self.global_downsamples - level,
                self.groups,
                self.dtype,
                name=f"level{level}",
            )(global_BHWG, embedding, courses, previous)
            exchange = rematerialised(TemporalAttention, self.remat)(
                self.head_dim, self.groups, self.dtype, name=f"level{level}_exchange"
            )
            grid = len(grid_F)
            features.append(exchange(previous[:, :grid], previous[:, grid:]))
        if self.estimate_channels > 0:
            sizes = (self.estimate_channels, self.global_downsamples, slots, tuple(self.key_index))
            features.append(LinearEstimate(*sizes, name="estimate")(global_BHWG, index_Bn))
        return tuple(features)


class LinearEstimate(nn.Module):
    """Global feature [B, H, W, G] and indices [B, n] -> latents [B, n, h, w, Z], float32.

    z = Σ_g W(index)_gz g_g + b at every place, with W linear in the waves of the index. It is
    initialised as linear interpolation of the key frames, at indices `key_index` [K]: W inverts the
    cosine transform that the encoder's shortcut begins with (`video_encoder.temporal_cosines`).
    """

    channels: int
    upsamples: int
    index_slots: int
    key_index: tuple[float, ...]

    @nn.compact
    def __call__(self, global_BHWG: jax.Array, index_Bn: jax.Array) -> jax.Array:
        shape = (_COURSE_WAVES, global_BHWG.shape[-1], self.channels)
        kernel_MGZ = self.param("kernel", self._interpolation, shape, jnp.float32)
        bias_Z = self.param("bias", nn.initializers.zeros_init(), (self.channels,), jnp.float32)
        waves_BnM = index_waves(index_Bn, self.index_slots, _COURSE_WAVES)
        weights_BnGZ = jnp.einsum("bnm,mgz->bngz", waves_BnM, kernel_MGZ)
        feature_BHWG = global_BHWG.astype(jnp.float32)
        estimate = jnp.einsum("bhwg,bngz->bnhwz", feature_BHWG, weights_BnGZ) + bias_Z
        return upsample(estimate, self.upsamples)

    def _interpolation(
        self, key: jax.Array, shape: tuple[int, int, int], dtype: DTypeLike
    ) -> jax.Array:
        """Kernel [M, G, Z] whose weights at the slots are nearest to those of interpolation."""
        del key
        waves, columns, channels = shape
        keys, index_F = len(self.key_index), np.arange(self.index_slots) / self.index_slots
        near_FK = np.stack([np.interp(index_F, self.key_index, k) for k in np.eye(keys)], axis=1)
        waves_FM = index_waves(jnp.asarray(index_F), self.index_slots, waves)
        # A little ridge: there are more waves than slots.
        normal_MM = waves_FM.T @ waves_FM + 1e-4 * self.index_slots * jnp.eye(waves)
        course_MK = jnp.linalg.solve(normal_MM, waves_FM.T @ (near_FK @ cosine_transform(keys)))
        kernel = jnp.einsum("mk,yz->mkyz", course_MK, jnp.eye(channels))
        kernel = kernel.reshape(waves, -1, channels)[:, :columns]
        padding = [(0, 0), (0, columns - kernel.shape[1]), (0, 0)]
        return jnp.pad(kernel, padding).astype(dtype)


class FrameBlock(nn.Module):
    """Residual block that gives every index its own map of one shared global feature.

    h = conv(resample(SiLU(GN(g)))) + Dense(SiLU(index)) + pool(conv(SiLU(previous)));
    out = dense(skip(resample(g)) * (1 + Dense(waves(index))) + zero_conv(SiLU(GN(h)))). What
    depends on g alone is computed once per clip.

    The factor 1 + Dense(waves) gives each channel its own time course. The published block has
    none: its index only shifts h before a norm, and clouds stood still for whole runs.
    """

    channels: int
    resample: int
    groups: int
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        global_BHWG: jax.Array,
        embedding_BFE: jax.Array,
        courses_BFM: jax.Array | None,
        previous: jax.Array | None,
    ) -> jax.Array:
        def resample(x: jax.Array) -> jax.Array:
            return (
                upsample(x, self.resample) if self.resample > 0 else average_pool(x, -self.resample)
            )

        def conv(name: str, zero_init: bool = False) -> Conv:
            return Conv(self.channels, zero_init=zero_init, dtype=self.dtype, name=name)

        shared = nn.silu(GroupNorm(self.groups, dtype=self.dtype, name="norm_in")(global_BHWG))
        shared = conv("conv_in")(resample(shared))
        shift = Dense(self.channels, dtype=self.dtype, name="embedding")(nn.silu(embedding_BFE))
        h = shared[:, None] + shift[:, :, None, None, :]
        if previous is not None:
            h = h + average_pool(conv("previous")(nn.silu(previous)))
        norm = GroupNorm(self.groups, axes=(2, 3), dtype=self.dtype, name="norm_out")
        h = conv("conv_out", zero_init=True)(nn.silu(norm(h)))
        skip = Dense(self.channels, dtype=self.dtype, name="skip")(resample(global_BHWG))[:, None]
        if courses_BFM is not None:
            course = Dense(self.channels, dtype=self.dtype, name="course")(courses_BFM)
            skip = skip * (1.0 + course[:, :, None, None, :])
        return Dense(self.channels, dtype=self.dtype, name="out")(skip + h)


class GlobalTokens(nn.Module):
    """Global feature [B, H, W, G] -> tokens [B, L, E], L = H W / 4, added to domain tokens.

    The domain tokens are learned and the same for every clip; where `with_domain` [B] is False
    they are left out (classifier-free guidance). Without `reads_global` the feature is zero.
    """

    width: int = 768
    reads_global: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, global_BHWG: jax.Array, with_domain_B: jax.Array) -> jax.Array:
        if not self.reads_global:
            global_BHWG = jnp.zeros_like(global_BHWG)
        h = Conv(self.width, kernel=7, stride=2, dtype=self.dtype, name="conv_in")(global_BHWG)
        h = Conv(self.width, dtype=self.dtype, name="conv_out")(nn.silu(h))
        tokens = h.reshape(h.shape[0], -1, self.width)
        domain = self.param(
            "domain", nn.initializers.normal(0.1), tokens.shape[1:], jnp.float32
        ).astype(self.dtype)
        return tokens + domain * with_domain_B[:, None, None]


class UNet(nn.Module):
    """Noisy latents [N, h, w, Z] at steps t [N] -> prediction [N, h, w, Z], float32.

    Stable Diffusion v1 layout. `features` (one [N, h, w, C] per level) are added after the first
    layer of each level, before the skip connection; one more, [N, h, w, Z], is added to the output.
    `tokens` [N, L, E] are the keys and values of all cross-attentions.

    `clip_frames` T > 0 is the plain video diffusion model of the ablations: rows are the frames of
    whole clips, (b t), each frame's place t / T is added to the embedded step, frames of a clip
    attend to each other after every residual block, and there are no `features`.

    Attention has heads of `head_dim` channels or, where that is 0, `heads` heads at every level, as
    published.
    """

    channels: int = 320
    multipliers: Sequence[int] = (1, 2, 4, 4)
    blocks_per_level: int = 2
    attention_levels: Sequence[int] = (0, 1, 2)
    heads: int = 8
    head_dim: int = 0
    latent_channels: int = 4
    groups: int = 32
    clip_frames: int = 0
    remat: Remat = "none"
    dtype: DTypeLike = jnp.float32

    @property
    def feature_widths(self) -> tuple[int, ...]:
        """Channels of every level's first layer, those of the level above."""
        return (self.channels, *(m * self.channels for m in self.multipliers[:-1]))

    @nn.compact
    def __call__(
        self,
        latents_NhwZ: jax.Array,
        timesteps_N: jax.Array,
        tokens_NLE: jax.Array,
        features: Sequence[jax.Array] = (),
    ) -> jax.Array:
        waves = sinusoidal_embedding(timesteps_N, self.channels)
        embedding = _embedding_mlp(waves, self.dtype, "time")
        frames = self.clip_frames
        if frames:
            index_N = jnp.arange(len(latents_NhwZ)) % frames / frames
            places = index_waves(index_N, frames, self.channels)
            embedding = embedding + _embedding_mlp(places, self.dtype, "place")

        def residual(h: jax.Array, level: int, name: str) -> jax.Array:
            channels = self.multipliers[level] * self.channels
            block = rematerialised(ResBlock, self.remat)
            h = block(channels, self.groups, dtype=self.dtype, name=name)(h, embedding)
            return exchange(h, f"{name}_exchange") if frames else h

        def exchange(h: jax.Array, name: str) -> jax.Array:
            block = rematerialised(TemporalAttention, self.remat)
            head_dim = self.head_dim or h.shape[-1] // self.heads
            block = block(head_dim, self.groups, self.dtype, name=name)
            return block(h.reshape(-1, frames, *h.shape[1:])).reshape(h.shape)

        def transformer(h: jax.Array, name: str) -> jax.Array:
            block = rematerialised(SpatialTransformer, self.remat)
            heads = h.shape[-1] // self.head_dim if self.head_dim else self.heads
            return block(heads, self.groups, self.dtype, name=name)(h, tokens_NLE)

        h = Conv(self.channels, dtype=self.dtype, name="conv_in")(latents_NhwZ)
        skips = []
        for level in range(len(self.multipliers)):
            if level > 0:
                h = Conv(h.shape[-1], stride=2, dtype=self.dtype, name=f"down{level}_sample")(h)
            if not frames:
                h = h + features[level].astype(h.dtype)
            skips.append(h)
            for block in range(self.blocks_per_level):
                h = residual(h, level, f"down{level}_block{block}")
                if level in self.attention_levels:
                    h = transformer(h, f"down{level}_block{block}_attention")
                skips.append(h)

        last = len(self.multipliers) - 1
        h = residual(h, last, "middle_block0")
        h = transformer(h, "middle_attention")
        h = residual(h, last, "middle_block1")

        for level in reversed(range(len(self.multipliers))):
            for block in range(self.blocks_per_level + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = residual(h, level, f"up{level}_block{block}")
                if level in self.attention_levels:
                    h = transformer(h, f"up{level}_block{block}_attention")
            if level > 0:
                h = Conv(h.shape[-1], dtype=self.dtype, name=f"up{level}_sample")(upsample(h))

        h = nn.silu(GroupNorm(self.groups, dtype=self.dtype, name="norm_out")(h))
        out = Conv(self.latent_channels, zero_init=True, dtype=self.dtype, name="conv_out")(h)
        out = out.astype(jnp.float32)
        return out + features[-1] if len(features) > len(self.multipliers) else out
