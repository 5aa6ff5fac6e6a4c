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
from jax.typing import DTypeLike

from glober_jax.models.compat import Compat, reference_slot
from glober_jax.models.layers import (
    Conv,
    Dense,
    GroupNorm,
    ResBlock,
    SpatialTransformer,
    TemporalAttention,
    average_pool,
    sinusoidal_embedding,
    upsample,
)
from glober_jax.models.remat import Remat, rematerialised

# Sines and cosines that the time course of a feature channel is made of.
_COURSE_WAVES = 32


def _embedding_mlp(waves: jax.Array, dtype: DTypeLike, name: str) -> jax.Array:
    """Dense, SiLU, Dense of a sin/cos embedding: [..., C] -> [..., 4 C]."""
    width = 4 * waves.shape[-1]
    h = nn.silu(Dense(width, dtype=dtype, name=f"{name}_in")(waves.astype(dtype)))
    return Dense(width, dtype=dtype, name=f"{name}_out")(h)


class FrameFeatures(nn.Module):
    """Global feature [B, H, W, G] and indices [B, n] -> one map [B, n, h, w, C] per UNet level.

    `widths` are the maps' channels (`UNet.feature_widths`), `channels` is the width of the embedded
    index.

    Frames exchange information through attention over the index grid {0, 1/F, ..., (F-1)/F}:
    queries are the target frames only, keys and values the grid. For a target on the grid that is
    the same number as computing the whole grid and picking the frame, and it is defined for any
    real index in between.

    The index is embedded as waves with half-periods from one slot to the whole clip: the fastest
    tells neighbouring slots apart, and none is nearly constant. `compat` "reference" rounds the
    index to the published slot, embeds it unscaled and has no time courses.
    """

    channels: int = 320
    widths: Sequence[int] = (320, 320, 640, 1280)
    global_downsamples: int = 1
    index_slots: int = 16
    head_dim: int = 64
    groups: int = 32
    compat: Compat = "none"
    remat: Remat = "none"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, global_BHWG: jax.Array, index_Bn: jax.Array) -> tuple[jax.Array, ...]:
        slots = self.index_slots
        grid_BF = jnp.broadcast_to(jnp.arange(slots) / slots, (index_Bn.shape[0], slots))
        if self.compat == "reference":
            index_Bn = reference_slot(index_Bn, slots) / slots
            waves = sinusoidal_embedding(jnp.concatenate([grid_BF, index_Bn], 1), self.channels)
            courses = None
        else:
            phase_BF = jnp.pi * slots * jnp.concatenate([grid_BF, index_Bn], axis=1)
            waves = sinusoidal_embedding(phase_BF, self.channels, max_period=slots)
            courses = sinusoidal_embedding(phase_BF, _COURSE_WAVES, max_period=slots)
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
            features.append(exchange(previous[:, :slots], previous[:, slots:]))
        return tuple(features)


class FrameBlock(nn.Module):
    """Residual block that gives every index its own map of one shared global feature.

    h = conv(resample(SiLU(GN(g)))) + Dense(SiLU(index)) + pool(conv(SiLU(previous)));
    out = dense(skip(resample(g)) * (1 + Dense(waves(index))) + zero_conv(SiLU(GN(h)))). What
    depends on g alone is computed once per clip.

    The factor gives each channel its own time course, which makes the map from g to frames one
    linear map per index from the start: what moves is learned with what stands still. In the
    published block, which is this one without `courses`, the index only shifts h before a norm;
    clouds stood still for whole runs.
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
    they are left out, which is one of the two directions of classifier-free guidance.
    """

    width: int = 768
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, global_BHWG: jax.Array, with_domain_B: jax.Array) -> jax.Array:
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
    layer of each level, before the map is kept for the skip connection, so they reach both paths.
    `tokens` [N, L, E] are the keys and values of all cross-attentions.
    """

    channels: int = 320
    multipliers: Sequence[int] = (1, 2, 4, 4)
    blocks_per_level: int = 2
    attention_levels: Sequence[int] = (0, 1, 2)
    heads: int = 8
    latent_channels: int = 4
    groups: int = 32
    remat: Remat = "none"
    dtype: DTypeLike = jnp.float32

    @property
    def feature_widths(self) -> tuple[int, ...]:
        """Channels of the feature map of every level.

        It is added right after the level's first layer, which has the width of the level above.
        """
        return (self.channels, *(m * self.channels for m in self.multipliers[:-1]))

    @nn.compact
    def __call__(
        self,
        latents_NhwZ: jax.Array,
        timesteps_N: jax.Array,
        tokens_NLE: jax.Array,
        features: Sequence[jax.Array],
    ) -> jax.Array:
        waves = sinusoidal_embedding(timesteps_N, self.channels)
        embedding = _embedding_mlp(waves, self.dtype, "time")

        def residual(h: jax.Array, level: int, name: str) -> jax.Array:
            channels = self.multipliers[level] * self.channels
            block = rematerialised(ResBlock, self.remat)
            return block(channels, self.groups, dtype=self.dtype, name=name)(h, embedding)

        def transformer(h: jax.Array, name: str) -> jax.Array:
            block = rematerialised(SpatialTransformer, self.remat)
            return block(self.heads, self.groups, self.dtype, name=name)(h, tokens_NLE)

        h = Conv(self.channels, dtype=self.dtype, name="conv_in")(latents_NhwZ)
        skips = []
        for level in range(len(self.multipliers)):
            if level > 0:
                h = Conv(h.shape[-1], stride=2, dtype=self.dtype, name=f"down{level}_sample")(h)
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
        return out.astype(jnp.float32)
