"""The frame codec: a KL autoencoder of single frames in the Stable Diffusion layout.

Dimension key: B frames, H height, W width, C colour or feature channels, h = H / factor and
w = W / factor latent size, Z latent channels. Pixels are in [-1, 1]. Published size: channels
128, multipliers (1, 2, 4, 4), two blocks per level, Z = 4: factor 8.

The packaged codec (`glober_jax/builtin`) takes patches of pixels, so that no convolution runs at
full resolution, and has neither norms nor attention, so that it works for frames of any size.
"""

import functools
from collections.abc import Callable, Sequence

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from glober_jax.models.attention import attention
from glober_jax.models.latents import Gaussian
from glober_jax.models.layers import (
    Conv,
    Dense,
    GroupNorm,
    Remat,
    ResBlock,
    rematerialised,
    upsample,
)


class PixelAttention(nn.Module):
    """Single-head attention over the pixels of [B, H, W, C]; scale C^(-1/2)."""

    groups: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        channels = x_BHWC.shape[-1]
        normed = GroupNorm(self.groups, eps=1e-6, dtype=self.dtype, name="norm")(x_BHWC)

        def project(name: str) -> jax.Array:
            tokens = Dense(channels, dtype=self.dtype, name=name)(normed)
            return tokens.reshape(x_BHWC.shape[0], -1, 1, channels)

        out = attention(project("q"), project("k"), project("v")).reshape(x_BHWC.shape)
        return x_BHWC + Dense(channels, dtype=self.dtype, name="out")(out)


class FrameCodec(nn.Module):
    """Frames to the moments of their latents' Gaussian, and latents to frames.

    `encode`: [B, H, W, 3] in [-1, 1] -> moments [B, h, w, 2 Z] (mean, then log-variance).
    `decode`: latents [B, h, w, Z] -> frames [B, H, W, 3], about [-1, 1], not clipped.
    `initial_log_variance` is about that of the posterior before training. Both maps are
    differentiable; the latents are the posterior's own scale (see `ChannelScale`).

    Attributes:
      patch_size: p > 1 folds p x p pixels into channels before the first level.
      attention: whether there is attention in the middle.
      groups: of all norms; 0 leaves them out.
      chunk_frames: > 0 maps that many frames at once and recomputes chunks for the gradient; the
        same numbers in less memory, as with `remat`.
    """

    channels: int = 128
    multipliers: Sequence[int] = (1, 2, 4, 4)
    blocks_per_level: int = 2
    latent_channels: int = 4
    initial_log_variance: float = 0.0
    patch_size: int = 1
    attention: bool = True
    groups: int = 32
    remat: Remat = "none"
    chunk_frames: int = 0
    dtype: DTypeLike = jnp.float32

    @property
    def factor(self) -> int:
        """Pixels per latent along each side."""
        return self.patch_size * 2 ** (len(self.multipliers) - 1)

    def chunk_size(self, frames: int) -> int:
        """The largest chunk of at most `chunk_frames` that divides `frames`."""
        if self.chunk_frames == 0 or frames <= self.chunk_frames:
            return frames
        return max(n for n in range(1, self.chunk_frames + 1) if frames % n == 0)

    def setup(self) -> None:
        options = {
            "channels": self.channels,
            "multipliers": tuple(self.multipliers),
            "attention": self.attention,
            "groups": self.groups,
            "remat": self.remat,
            "dtype": self.dtype,
        }
        blocks, colours = self.blocks_per_level, 3 * self.patch_size**2
        self.encoder = _Encoder(
            blocks_per_level=blocks, out_channels=2 * self.latent_channels, **options
        )
        self.decoder = _Decoder(blocks_per_level=blocks + 1, out_channels=colours, **options)
        halves = jnp.array([0.0, self.initial_log_variance])
        self.to_moments = Dense(
            2 * self.latent_channels,
            bias_init=lambda key, shape, dtype: halves.repeat(shape[0] // 2).astype(dtype),
            dtype=self.dtype,
        )
        self.from_latents = Dense(self.latent_channels, dtype=self.dtype)

    def encode(self, frames_BHWC: jax.Array) -> jax.Array:
        return self._in_chunks(FrameCodec._encode, frames_BHWC)

    def decode(self, latents_BhwZ: jax.Array) -> jax.Array:
        return self._in_chunks(FrameCodec._decode, latents_BhwZ)

    def __call__(self, frames_BHWC: jax.Array, noise_BhwZ: jax.Array) -> tuple[jax.Array, Gaussian]:
        """Training pass: (reconstruction of the posterior's sample at this noise, posterior)."""
        posterior = Gaussian.from_moments(self.encode(frames_BHWC))
        return self.decode(posterior.at(noise_BhwZ)), posterior

    def _encode(self, frames_BHWC: jax.Array) -> jax.Array:
        pattern, size = "b (h p) (w q) c -> b h w (p q c)", self.patch_size
        patches = einops.rearrange(frames_BHWC, pattern, p=size, q=size)
        return self.to_moments(self.encoder(patches)).astype(jnp.float32)

    def _decode(self, latents_BhwZ: jax.Array) -> jax.Array:
        patches = self.decoder(self.from_latents(latents_BhwZ)).astype(jnp.float32)
        pattern, size = "b h w (p q c) -> b (h p) (w q) c", self.patch_size
        return einops.rearrange(patches, pattern, p=size, q=size)

    def _in_chunks(
        self, function: Callable[["FrameCodec", jax.Array], jax.Array], x_B: jax.Array
    ) -> jax.Array:
        """`function(self, x_B)`, in equal chunks of at most `chunk_frames` frames.

        A chunk takes every (B / its size)-th frame, so that with sharded frames every device has
        its share of every chunk.
        """
        frames = x_B.shape[0]
        size = self.chunk_size(frames)
        if size == frames:
            return function(self, x_B)
        module, variables = self.unbind()

        @functools.partial(jax.checkpoint, prevent_cse=False)
        def one_chunk(chunk: jax.Array) -> jax.Array:
            return module.apply(variables, chunk, method=function)

        chunks = x_B.reshape(size, -1, *x_B.shape[1:]).swapaxes(0, 1)
        out = jax.lax.map(one_chunk, chunks).swapaxes(0, 1)
        return out.reshape(frames, *out.shape[2:])


class _Half(nn.Module):
    """The parts that encoder and decoder share."""

    channels: int
    multipliers: Sequence[int]
    blocks_per_level: int
    out_channels: int
    attention: bool
    groups: int
    remat: Remat
    dtype: DTypeLike

    def block(self, channels: int, name: str) -> ResBlock:
        kind = rematerialised(ResBlock, self.remat)
        return kind(channels, self.groups, eps=1e-6, dtype=self.dtype, name=name)

    def middle(self, h: jax.Array) -> jax.Array:
        h = self.block(h.shape[-1], "middle_block0")(h)
        if self.attention:
            kind = rematerialised(PixelAttention, self.remat)
            h = kind(self.groups, self.dtype, name="middle_attention")(h)
        return self.block(h.shape[-1], "middle_block1")(h)

    def head(self, h: jax.Array) -> jax.Array:
        h = nn.silu(GroupNorm(self.groups, eps=1e-6, dtype=self.dtype, name="norm_out")(h))
        return Conv(self.out_channels, dtype=self.dtype, name="conv_out")(h)


class _Encoder(_Half):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        h = Conv(self.channels, dtype=self.dtype, name="conv_in")(x)
        for level, multiplier in enumerate(self.multipliers):
            for block in range(self.blocks_per_level):
                h = self.block(multiplier * self.channels, f"level{level}_block{block}")(h)
            if level < len(self.multipliers) - 1:
                # Stable Diffusion pads only right and below before its stride-2 convolutions.
                h = nn.Conv(
                    h.shape[-1],
                    (3, 3),
                    (2, 2),
                    ((0, 1), (0, 1)),
                    dtype=self.dtype,
                    name=f"level{level}_down",
                )(h)
        return self.head(self.middle(h))


class _Decoder(_Half):
    @nn.compact
    def __call__(self, latents: jax.Array) -> jax.Array:
        widest = self.multipliers[-1] * self.channels
        h = self.middle(Conv(widest, dtype=self.dtype, name="conv_in")(latents))
        for level, multiplier in reversed(list(enumerate(self.multipliers))):
            for block in range(self.blocks_per_level):
                h = self.block(multiplier * self.channels, f"level{level}_block{block}")(h)
            if level > 0:
                h = Conv(h.shape[-1], dtype=self.dtype, name=f"level{level}_up")(upsample(h))
        return self.head(h)


def normalise_frames(frames: jax.Array) -> jax.Array:
    """uint8 0..255 -> float32 [-1, 1]."""
    return frames.astype(jnp.float32) / 127.5 - 1.0


def to_pixels(frames: jax.Array) -> jax.Array:
    """float [-1, 1] -> uint8 0..255, clipped and rounded."""
    return jnp.round(jnp.clip(frames * 127.5 + 127.5, 0.0, 255.0)).astype(jnp.uint8)
