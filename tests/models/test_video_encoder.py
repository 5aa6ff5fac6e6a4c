"""What the video encoder's shortcut begins with, and what its heads read."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.fft import dct

from glober_jax.models.networks import Networks, Params
from glober_jax.models.video_encoder import temporal_cosines


def test_the_shortcut_begins_with_the_cosine_transform_over_time() -> None:
    """Fails when frequencies, latent channels or places of a cell are mixed up."""
    keys, places, channels = 4, 4, 3
    shape = (keys * places * channels, keys * channels + 5)
    kernel = temporal_cosines(
        jax.random.key(0), shape, jnp.float32, keys=keys, latent_channels=channels
    )
    assert kernel.shape == shape
    latents = np.random.default_rng(0).standard_normal((keys, places, channels))
    found = latents.reshape(-1) @ np.asarray(kernel)[:, : keys * channels]
    wanted = dct(latents.mean(axis=1), type=2, norm="ortho", axis=0)
    np.testing.assert_allclose(found.reshape(keys, channels), wanted, atol=1e-6)
    # What the transform does not need is drawn; with fewer channels the high frequencies go.
    assert np.asarray(kernel)[:, keys * channels :].std() > 0.05
    fewer = temporal_cosines(
        jax.random.key(0), (shape[0], 5), jnp.float32, keys=keys, latent_channels=channels
    )
    np.testing.assert_array_equal(fewer, kernel[:, :5])


def test_heads_see_every_key_frame(networks: Networks, params: Params) -> None:
    """Fails when the learned frame, which alone is read, has learned nothing of the others."""
    shape = (1, networks.num_key_frames, *networks.latent_shape)
    latents = jax.random.normal(jax.random.key(0), shape)

    def log_variance(latents: jax.Array) -> jax.Array:
        return networks.apply(params, "video_encoder", latents).log_variance.sum()

    gradient = jax.jit(jax.grad(log_variance))(latents)[0]
    assert (np.abs(gradient).max(axis=(1, 2, 3)) > 1e-6).all()
