"""The scale of latents; tests/parity holds the Gaussian posterior to recorded arrays."""

import numpy as np

from glober_jax.models.latents import ChannelScale


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
