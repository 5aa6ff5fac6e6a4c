"""The global generator: a diffusion transformer over global features.

Dimension key: B clips, H, W size of the global feature, G its channels, L context tokens,
S = L + H W / P² tokens, D width, E context width, P patch size, N channel groups.
Published size (3.8 of the reference): width 1152, depth 28, 16 heads, G = 16, P = 1, E = 768.
"""

import math
from typing import Literal

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from glober_jax.models.attention import attention, merge_heads, split_heads
from glober_jax.models.layers import (
    Conv,
    Dense,
    FusedDense,
    Remat,
    rematerialised,
    sinusoidal_embedding,
    traced_once,
    zeros,
)

_xavier = traced_once(nn.initializers.xavier_uniform())


def grid_positions(height: int, width: int, dim: int) -> jax.Array:
    """Fixed 2-D sine-cosine positions [H * W, dim], row-major.

    The first half of the channels encodes the column, the second the row; each half is
    [sin, cos] over dim / 4 frequencies.
    """

    def axis_embedding(positions: jax.Array) -> jax.Array:
        cosine, sine = jnp.split(sinusoidal_embedding(positions, dim // 2), 2, axis=-1)
        return jnp.concatenate([sine, cosine], axis=-1)

    row, column = jnp.divmod(jnp.arange(height * width), width)
    return jnp.concatenate([axis_embedding(column), axis_embedding(row)], axis=-1)


class GlobalGenerator(nn.Module):
    """Noisy global features [B, H, W, G] at steps t [B, N] -> prediction [B, H, W, G], float32.

    Every patch of P x P cells is a token, its P P G values in the order (row, column, channel).
    adaLN-Zero transformer blocks, steered by the embedded step. Context tokens `context_BLE`, any
    number of them, are projected and put in front of the feature's own, and dropped at the end.
    Only the feature's tokens have positions.

    Attributes:
      lead_channels: number of leading channels that are generated before the others, which are
        conditioned on them: two groups (N = 2), each with a step t of its own. 0: one group, as
        published, where t may also be [B].
      feed_forward: "dense", as published: two layers on every token, 4 D wide. "conv": the first
        is a 3x3 convolution over the feature's tokens, 2 D wide, and context tokens have none, as
        in Mix-FFN (SANA, arXiv 2410.10629). It learns what neighbours have to do with each other
        in far fewer steps.
    """

    width: int = 1152
    depth: int = 28
    heads: int = 16
    global_channels: int = 16
    lead_channels: int = 0
    patch_size: int = 1
    context_width: int = 768
    feed_forward: Literal["dense", "conv"] = "dense"
    remat: Remat = "none"
    dtype: DTypeLike = jnp.float32

    @property
    def groups(self) -> tuple[slice, ...]:
        """The channels of each of the N groups."""
        lead, every = self.lead_channels, self.global_channels
        return (slice(0, lead), slice(lead, every)) if lead else (slice(0, every),)

    @nn.compact
    def __call__(
        self, global_BHWG: jax.Array, timesteps_BN: jax.Array, context_BLE: jax.Array
    ) -> jax.Array:
        patch = {"p": self.patch_size, "q": self.patch_size}
        height, width = (side // self.patch_size for side in global_BHWG.shape[1:3])
        patches = einops.rearrange(global_BHWG, "b (h p) (w q) g -> b (h w) (p q g)", **patch)
        h = self._dense("patch_in")(patches)
        h = h + grid_positions(height, width, self.width).astype(self.dtype)
        h = jnp.concatenate([self._dense("context")(context_BLE), h], axis=1)

        time = sinusoidal_embedding(timesteps_BN, 256).astype(self.dtype)
        time = time.reshape(len(time), -1)
        time = nn.silu(self._dense("time_in", stddev=0.02)(time))
        time = nn.silu(self._dense("time_out", stddev=0.02)(time))
        for block in range(self.depth):
            kind = rematerialised(_AdaLNBlock, self.remat)
            grid = (height, width) if self.feed_forward == "conv" else None
            h = kind(self.heads, self.dtype, grid, name=f"block{block}")(h, time)

        h = h[:, -height * width :]
        modulation = Dense(2 * self.width, zero_init=True, dtype=self.dtype, name="out_modulation")
        shift, scale = jnp.split(modulation(time)[:, None], 2, axis=-1)
        h = _modulate(h, shift, scale, self.dtype)
        values = self.patch_size**2 * self.global_channels
        out = Dense(values, zero_init=True, dtype=self.dtype, name="out")(h)
        out = einops.rearrange(out, "b (h w) (p q g) -> b (h p) (w q) g", h=height, **patch)
        return out.astype(jnp.float32)

    def _dense(self, name: str, stddev: float | None = None) -> nn.Dense:
        init = _xavier if stddev is None else nn.initializers.normal(stddev)
        return nn.Dense(self.width, kernel_init=init, dtype=self.dtype, name=name)


def _modulate(x: jax.Array, shift: jax.Array, scale: jax.Array, dtype: DTypeLike) -> jax.Array:
    """LayerNorm without parameters, then x (1 + scale) + shift."""
    norm = nn.LayerNorm(epsilon=1e-6, use_bias=False, use_scale=False, dtype=jnp.float32)
    return norm(x).astype(dtype) * (1 + scale) + shift


class _AdaLNBlock(nn.Module):
    """Attention and MLP, each shifted, scaled and gated by the embedded step [B, D].

    With a `grid` (rows, columns) the MLP begins with a convolution over the last tokens.
    """

    heads: int
    dtype: DTypeLike
    grid: tuple[int, int] | None = None

    @nn.compact
    def __call__(self, x_BSD: jax.Array, time_BD: jax.Array) -> jax.Array:
        width = x_BSD.shape[-1]

        def dense(channels: int, name: str) -> nn.Dense:
            return nn.Dense(
                channels, kernel_init=_xavier, bias_init=zeros, dtype=self.dtype, name=name
            )

        modulation = Dense(6 * width, zero_init=True, dtype=self.dtype, name="modulation")
        parts = jnp.split(modulation(time_BD)[:, None], 6, axis=-1)
        shift_attention, scale_attention, gate_attention, shift_mlp, scale_mlp, gate_mlp = parts

        h = _modulate(x_BSD, shift_attention, scale_attention, self.dtype)
        q, k, v = FusedDense(3, width, _xavier, self.dtype, name="qkv")(h)
        out = attention(*(split_heads(x, self.heads) for x in (q, k, v)))
        x_BSD = x_BSD + gate_attention * dense(width, "attention_out")(merge_heads(out))

        h = _modulate(x_BSD, shift_mlp, scale_mlp, self.dtype)
        if self.grid is None:
            h = nn.gelu(dense(4 * width, "mlp_in")(h), approximate=True)
            h = dense(width, "mlp_out")(h)
        else:
            cells = math.prod(self.grid)
            h = h[:, -cells:].reshape(-1, *self.grid, width)
            h = nn.gelu(Conv(2 * width, dtype=self.dtype, name="mlp_conv")(h), approximate=True)
            h = dense(width, "mlp_out")(h).reshape(-1, cells, width)
            h = jnp.pad(h, ((0, 0), (x_BSD.shape[1] - cells, 0), (0, 0)))
        return x_BSD + gate_mlp * h
