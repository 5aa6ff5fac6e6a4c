"""What a model shows of its inside is what happens when it decodes."""

import numpy as np
import pytest

from glober_jax.errors import UserError
from glober_jax.sampling.glober import Glober

INDEX = [0.25, 0.6]


@pytest.fixture(scope="module")
def features(small_glober: Glober) -> np.ndarray:
    shape = (2, *small_glober.networks.global_shape)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    "changes",
    [{}, {"sampler": "dpm++", "eta": 0.0, "steps": 3, "video_scale": 1.0, "shared_noise": 1.0}],
    ids=["ddim", "dpm++"],
)
def test_denoising_ends_in_the_frames_that_are_decoded(
    small_glober: Glober, features: np.ndarray, changes: dict[str, object]
) -> None:
    """Fails when other steps, noise, guidance or videos are shown than those of `decode`."""
    model = small_glober.with_options(**changes)
    steps = model.denoising(features, INDEX, seed=3, first_video=1)
    assert len(steps.noise_level) == model.options.steps
    assert (np.diff(steps.noise_level) < 0).all() and 0 < steps.noise_level[0] <= 1
    assert steps.clean.shape == steps.noisy.shape == (len(steps.noise_level), 2, 2, 8, 8, 3)
    decoded = model.decode(features, INDEX, seed=3, first_video=1)
    assert np.abs(steps.clean[-1].astype(int) - decoded).max() <= 1
    # With all noise shared, the frames of a video begin alike.
    begins_alike = np.abs(steps.noisy[0, :, 0].astype(int) - steps.noisy[0, :, 1]).max() <= 1
    assert begins_alike == (model.options.shared_noise == 1)
    assert (steps.noisy[0] != steps.noisy[-1]).mean() > 0.5


def test_maps_are_of_the_frames_asked_for(small_glober: Glober, features: np.ndarray) -> None:
    """Fails when maps lack a level, or belong to another video or index."""
    maps = small_glober.frame_features(features, INDEX)
    side = small_glober.networks.latent_shape[0]
    assert maps[0].shape[:4] == (2, 2, side, side)
    alone = small_glober.frame_features(features[1:], INDEX[1:])
    for found, same in zip(maps, alone, strict=True):
        np.testing.assert_allclose(same[0, 0], found[1, 1], rtol=1e-4, atol=1e-5)
        assert np.abs(found[0] - found[1]).max() > 1e-3
        assert np.abs(found[:, 0] - found[:, 1]).max() > 1e-3
    with pytest.raises(UserError, match="all lie between"):
        small_glober.frame_features(features, [2])
