"""The global generator: a diffusion transformer over global features.

Dimension key: B clips, H, W size of the global feature, G its channels, L context tokens,
S = L + H W tokens, D width, E context width. Patch size 1: every cell is a token.
Published size (3.8 of the reference): width 1152, depth 28, 16 heads, G = 16.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from glober_jax.models.layers import (
    Dense,
    attention,
    merge_heads,
    sinusoidal_embedding,
    split_heads,
    zeros,
)

_xavier = nn.initializers.xavier_uniform()


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


class ClassTokens(nn.Module):
    """Labels [B] in 0..num_classes -> context tokens [B, 1, E]; `num_classes` is "no class"."""

    num_classes: int
    width: int

    @nn.compact
    def __call__(self, labels_B: jax.Array) -> jax.Array:
        table = nn.Embed(self.num_classes + 1, self.width, name="table")
        return table(labels_B)[:, None, :]


class GlobalGenerator(nn.Module):
    """Noisy global features [B, H, W, G] at steps t [B] -> prediction [B, H, W, G], float32.

    adaLN-Zero transformer blocks, steered by the embedded step. Context tokens are projected and
    put in front of the feature's own tokens, and dropped at the end; without `context_BLE` the
    generator is unconditional. For labels use `num_classes` and pass `labels_B`, of which
    `num_classes` itself means "no class".
    """

    width: int = 1152
    depth: int = 28
    heads: int = 16
    global_channels: int = 16
    num_classes: int = 0
    context_width: int = 768
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, global_BHWG: jax.Array, timesteps_B: jax.Array, labels_B: jax.Array | None = None
    ) -> jax.Array:
        batch, height, width, _ = global_BHWG.shape
        h = self._dense("patch_in")(global_BHWG.reshape(batch, height * width, -1))
        h = h + grid_positions(height, width, self.width).astype(self.dtype)
        if self.num_classes:
            tokens = ClassTokens(self.num_classes, self.context_width, name="classes")(labels_B)
            h = jnp.concatenate([self._dense("context")(tokens), h], axis=1)

        time = sinusoidal_embedding(timesteps_B, 256).astype(self.dtype)
        time = nn.silu(self._dense("time_in", stddev=0.02)(time))
        time = nn.silu(self._dense("time_out", stddev=0.02)(time))
        for block in range(self.depth):
            h = _AdaLNBlock(self.heads, self.dtype, name=f"block{block}")(h, time)

        h = h[:, -height * width :]
        modulation = Dense(2 * self.width, zero_init=True, dtype=self.dtype, name="out_modulation")
        shift, scale = jnp.split(modulation(time)[:, None], 2, axis=-1)
        h = _modulate(h, shift, scale, self.dtype)
        out = Dense(self.global_channels, zero_init=True, dtype=self.dtype, name="out")(h)
        return out.reshape(batch, height, width, -1).astype(jnp.float32)

    def _dense(self, name: str, stddev: float | None = None) -> nn.Dense:
        init = _xavier if stddev is None else nn.initializers.normal(stddev)
        return nn.Dense(self.width, kernel_init=init, dtype=self.dtype, name=name)


def _modulate(x: jax.Array, shift: jax.Array, scale: jax.Array, dtype: DTypeLike) -> jax.Array:
    """LayerNorm without parameters, then x (1 + scale) + shift."""
    norm = nn.LayerNorm(epsilon=1e-6, use_bias=False, use_scale=False, dtype=jnp.float32)
    return norm(x).astype(dtype) * (1 + scale) + shift


class _AdaLNBlock(nn.Module):
    """Attention and MLP, each shifted, scaled and gated by the embedded step [B, D]."""

    heads: int
    dtype: DTypeLike

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
        q, k, v = jnp.split(dense(3 * width, "qkv")(h), 3, axis=-1)
        out = attention(*(split_heads(x, self.heads) for x in (q, k, v)))
        x_BSD = x_BSD + gate_attention * dense(width, "attention_out")(merge_heads(out))

        h = _modulate(x_BSD, shift_mlp, scale_mlp, self.dtype)
        h = nn.gelu(dense(4 * width, "mlp_in")(h), approximate=True)
        return x_BSD + gate_mlp * dense(width, "mlp_out")(h)
