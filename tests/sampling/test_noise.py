"""The noise of frames: whose it is, how it is distributed, and what the frames of a video share."""

import numpy as np
import pytest

from glober_jax.sampling.noise import frame_noise

SHAPE = (8, 8, 4)
INDEX = np.arange(16, dtype=np.float32) / 16
SUB_CLIP = [3, 7]


def noise_of(
    videos: list[int], index_n: np.ndarray, shared: float, *, seed: int = 5, step: int = 0
) -> np.ndarray:
    index = np.tile(index_n, (len(videos), 1))
    return np.asarray(frame_noise(seed, np.array(videos), index, SHAPE, shared, step))


@pytest.mark.parametrize("shared", [0.0, 0.4, 1.0])
def test_noise_is_a_function_of_video_and_index(shared: float) -> None:
    """Fails when noise goes by the place in the batch, or two videos, seeds or steps share it."""
    full = noise_of([0, 1, 2], INDEX, shared)
    np.testing.assert_array_equal(noise_of([2], INDEX[SUB_CLIP], shared)[0], full[2, SUB_CLIP])
    different = len(np.unique(full[..., 0, 0, 0]))
    assert different == (3 if shared == 1.0 else 3 * 16)
    for other in ({"seed": 6}, {"step": 1}):
        assert (noise_of([2], INDEX, shared, **other)[0] != full[2]).all()


@pytest.mark.parametrize("shared", [0.0, 0.4, 1.0])
def test_noise_is_standard_normal_and_frames_share_the_fraction(shared: float) -> None:
    """Fails when the parts are mixed without roots, or a frame's own part is the shared one."""
    noise = noise_of(list(range(40)), INDEX, shared)
    by_index = noise.transpose(1, 0, 2, 3, 4).reshape(16, -1)
    # 40 x 8 x 8 x 4 numbers per frame: the standard error of a covariance is at most 0.014.
    covariance = by_index @ by_index.T / by_index.shape[1]
    expected = np.full((16, 16), shared) + (1.0 - shared) * np.eye(16)
    np.testing.assert_allclose(covariance, expected, atol=0.07)
    np.testing.assert_allclose(by_index.mean(1), 0.0, atol=0.05)
