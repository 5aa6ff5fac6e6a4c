"""The diffusion process: noise schedule, q(x_t | x_0), and what a network predicts.

With ᾱ_t = Π (1 - β_s) and β linear in √β from `beta_start` to `beta_end` over `num_timesteps`:

    x_t = √ᾱ_t x_0 + √(1-ᾱ_t) ε                     ε standard normal
    v   = √ᾱ_t ε - √(1-ᾱ_t) x_0
    x_0 = √ᾱ_t x_t - √(1-ᾱ_t) v                     ε = √(1-ᾱ_t) x_t + √ᾱ_t v
    λ_t = log(√ᾱ_t / √(1-ᾱ_t))                      half the log signal-to-noise ratio

Training visits whole steps t. Samplers may also call the network between them: λ is interpolated
linearly, and the networks embed t as a real number in [0, T - 1]. Dimension key: B batch; every
other axis of x is arbitrary and broadcast over. Schedules are computed in float64 and used in
float32.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from glober_jax.errors import UserError

Prediction = Literal["eps", "v", "x0"]


@dataclasses.dataclass(frozen=True)
class DiffusionProcess:
    """Schedule and parametrisation; `prediction` is the network's output.

    `min_snr_gamma` weights the loss so that the implied x_0 error counts min(SNR, gamma)
    (min-SNR-gamma, arXiv 2303.09556); 0 leaves the plain mean squared error of the prediction.
    """

    num_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.0120
    prediction: Prediction = "eps"
    min_snr_gamma: float = 0.0

    @property
    def alphas_cumprod(self) -> np.ndarray:
        """ᾱ_t for t = 0 .. num_timesteps - 1, float64."""
        betas = np.linspace(self.beta_start**0.5, self.beta_end**0.5, self.num_timesteps) ** 2
        return np.cumprod(1.0 - betas)

    @property
    def half_log_snr(self) -> np.ndarray:
        """λ_t for t = 0 .. num_timesteps - 1, float64, falling."""
        alphas = self.alphas_cumprod
        return 0.5 * np.log(alphas / (1.0 - alphas))

    def timesteps_of(self, half_log_snr: np.ndarray) -> np.ndarray:
        """The real t in [0, num_timesteps - 1] at which λ has these values, float64."""
        steps = np.arange(self.num_timesteps)
        return np.interp(half_log_snr, self.half_log_snr[::-1], steps[::-1])

    def _signal_noise(self, t_B: jax.Array, ndim: int) -> tuple[jax.Array, jax.Array]:
        """√ᾱ_t and √(1-ᾱ_t) for whole or real t, shaped to broadcast over `ndim` axes."""
        shape = t_B.shape + (1,) * (ndim - t_B.ndim)
        if jnp.issubdtype(t_B.dtype, jnp.floating):
            levels = jnp.asarray(self.half_log_snr, jnp.float32)
            below_B = jnp.clip(t_B.astype(jnp.int32), 0, self.num_timesteps - 2)
            slope_B = levels[below_B + 1] - levels[below_B]
            level_B = (levels[below_B] + (t_B - below_B) * slope_B).reshape(shape)
            return jnp.sqrt(jax.nn.sigmoid(2 * level_B)), jnp.sqrt(jax.nn.sigmoid(-2 * level_B))
        alphas = self.alphas_cumprod
        signal = jnp.asarray(np.sqrt(alphas), jnp.float32)[t_B].reshape(shape)
        noise = jnp.asarray(np.sqrt(1.0 - alphas), jnp.float32)[t_B].reshape(shape)
        return signal, noise

    def add_noise(self, x0: jax.Array, eps: jax.Array, t_B: jax.Array) -> jax.Array:
        """x_t ~ q(x_t | x_0) at steps t [B], whole or real."""
        signal, noise = self._signal_noise(t_B, x0.ndim)
        return signal * x0 + noise * eps

    def target(self, x0: jax.Array, eps: jax.Array, t_B: jax.Array) -> jax.Array:
        """The training target of the network at (x_t, t)."""
        if self.prediction == "eps":
            return eps
        if self.prediction == "x0":
            return x0
        signal, noise = self._signal_noise(t_B, x0.ndim)
        return signal * eps - noise * x0

    def to_x0_eps(
        self, prediction: jax.Array, x_t: jax.Array, t_B: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """(x_0, ε) of the network's output at x_t."""
        signal, noise = self._signal_noise(t_B, x_t.ndim)
        if self.prediction == "eps":
            return (x_t - noise * prediction) / signal, prediction
        if self.prediction == "x0":
            return prediction, (x_t - signal * prediction) / noise
        return signal * x_t - noise * prediction, noise * x_t + signal * prediction

    def damp_gradient(self, x0: jax.Array, t_B: jax.Array) -> jax.Array:
        """x_0 unchanged, with its gradient multiplied by the signal √ᾱ_t.

        Computed from a prediction of ε, x_0 multiplies gradients by √(1-ᾱ_t) / √ᾱ_t, most at the
        noisiest steps. With this factor no prediction's gradient is enlarged.
        """
        signal, _ = self._signal_noise(t_B, x0.ndim)
        fixed = jax.lax.stop_gradient(x0)
        return fixed + signal * (x0 - fixed)

    def prediction_of(self, x0: jax.Array, x_t: jax.Array, t_B: jax.Array) -> jax.Array:
        """The network's output for this x_0 at x_t: the inverse of `to_x0_eps`."""
        signal, noise = self._signal_noise(t_B, x_t.ndim)
        return self.target(x0, (x_t - signal * x0) / noise, t_B)

    def loss(
        self, prediction: jax.Array, x0: jax.Array, eps: jax.Array, t_B: jax.Array
    ) -> jax.Array:
        """Weighted mean squared error of the prediction, float32 [B]."""
        error = jnp.square(prediction.astype(jnp.float32) - self.target(x0, eps, t_B))
        error_B = error.mean(axis=tuple(range(t_B.ndim, error.ndim)))
        if self.min_snr_gamma == 0:
            return error_B
        snr = self.alphas_cumprod / (1.0 - self.alphas_cumprod)
        # The x_0 error per unit of error in the prediction: eps 1/SNR, v 1/(SNR + 1), x0 1.
        per_x0 = {"eps": snr, "v": snr + 1.0, "x0": np.ones_like(snr)}[self.prediction]
        weights = np.minimum(snr, self.min_snr_gamma) / per_x0
        return jnp.asarray(weights, jnp.float32)[t_B] * error_B


def check_steps(num_timesteps: int, steps: int) -> None:
    """Raises `UserError` for a number of sampling steps that the schedule cannot serve."""
    if not 1 <= steps <= num_timesteps:
        raise UserError(f"sampling steps must lie in 1..{num_timesteps}, got {steps}")
