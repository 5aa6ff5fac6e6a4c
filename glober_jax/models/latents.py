"""Latents: diagonal Gaussians, and their scaling to unit variance.

Shared by the frame codec (latents of a frame) and the video encoder (global feature of a clip).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Gaussian(NamedTuple):
    """A diagonal Gaussian: mean and log-variance of one shape, float32."""

    mean: jax.Array
    log_variance: jax.Array

    @classmethod
    def from_moments(cls, moments: jax.Array) -> "Gaussian":
        """Halves the channel axis [..., 2 Z]; the log-variance is clamped to [-30, 20]."""
        mean, log_variance = jnp.split(moments.astype(jnp.float32), 2, axis=-1)
        return cls(mean, jnp.clip(log_variance, -30.0, 20.0))

    def sample(self, key: jax.Array) -> jax.Array:
        """m + s ε with ε standard normal from `key`."""
        return self.at(jax.random.normal(key, self.mean.shape, self.mean.dtype))

    def at(self, noise: jax.Array) -> jax.Array:
        """m + s ε for the ε given."""
        return self.mean + jnp.exp(0.5 * self.log_variance) * noise

    def kl(self) -> jax.Array:
        """KL(q || N(0, 1)) = ½ Σ (m² + s² - 1 - log s²), summed per example: float32 [B]."""
        terms = jnp.square(self.mean) + jnp.exp(self.log_variance) - 1.0 - self.log_variance
        return 0.5 * terms.sum(axis=tuple(range(1, terms.ndim)))


class ChannelScale(NamedTuple):
    """Per-channel affine map between a network's own latents and unit-variance ones, float32 [C].

    Measured once on training data, or a published constant; stored in the checkpoint of the stage
    that uses it.
    """

    mean: jax.Array
    deviation: jax.Array

    @classmethod
    def measure(cls, latents: jax.Array) -> "ChannelScale":
        """Mean and standard deviation of [..., C] over all but the channel axis."""
        axes = tuple(range(latents.ndim - 1))
        return cls(latents.mean(axes), jnp.maximum(latents.std(axes), 1e-6))

    @classmethod
    def constant(cls, factor: float, channels: int) -> "ChannelScale":
        """Multiplication of all channels by one factor, as by Stable Diffusion's 0.18215."""
        return cls(jnp.zeros(channels), jnp.full(channels, 1.0 / factor))

    def normalise(self, latents: jax.Array) -> jax.Array:
        return (latents - self.mean) / self.deviation

    def restore(self, latents: jax.Array) -> jax.Array:
        return latents * self.deviation + self.mean
