"""The Gaussian posterior against recorded arrays, and the scale of latents."""

import jax
import numpy as np
import pytest

from glober_jax.models.latents import ChannelScale, Gaussian
from tests.tiny import FIXTURES

FIXTURE = np.load(FIXTURES / "kl.npz")


def channels_last(name: str) -> np.ndarray:
    return np.moveaxis(FIXTURE[name], 1, -1)


def test_moments_and_kl_are_the_published_ones() -> None:
    """Fails when the log-variance is not clamped, or KL is averaged (broken so)."""
    posterior = Gaussian.from_moments(channels_last("in/parameters"))
    np.testing.assert_array_equal(posterior.mean, channels_last("out/mean"))
    np.testing.assert_array_equal(posterior.log_variance, channels_last("out/logvar"))
    np.testing.assert_allclose(posterior.kl(), FIXTURE["out/kl"], rtol=1e-5)


def test_samples_are_mean_plus_deviation_times_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when the noise is scaled by the variance and not by its root (broken so)."""
    noise = channels_last("in/noise")
    monkeypatch.setattr(jax.random, "normal", lambda key, shape, dtype: noise.reshape(shape))
    posterior = Gaussian.from_moments(channels_last("in/parameters"))
    expected = channels_last("out/sample")
    np.testing.assert_allclose(posterior.sample(jax.random.key(0)), expected, rtol=1e-5, atol=1e-6)


def test_channel_scale_makes_unit_variance_and_can_be_undone() -> None:
    """Fails when the scale mixes channels, or `restore` is not the inverse of `normalise`."""
    rng = np.random.default_rng(0)
    latents = (rng.standard_normal((64, 4, 4, 3)) * [1.0, 2.0, 0.1] + [0.0, -1.0, 3.0]).astype("f4")
    scale = ChannelScale.measure(latents)
    normalised = np.asarray(scale.normalise(latents))
    np.testing.assert_allclose(normalised.mean((0, 1, 2)), 0.0, atol=1e-4)
    np.testing.assert_allclose(normalised.std((0, 1, 2)), 1.0, atol=1e-4)
    np.testing.assert_allclose(scale.restore(normalised), latents, atol=1e-5)
    # A channel that never changes must not divide by zero.
    assert np.isfinite(
        ChannelScale.measure(np.ones((4, 2), np.float32)).normalise(np.ones(2))
    ).all()
