"""Interpolation between key frames, of pixels and of latents."""

import numpy as np
import pytest

from glober_jax.data.clips import ClipSpec
from glober_jax.evaluation.interpolation import blend, interpolate


@pytest.mark.parametrize("keys", [1, 3, 16])
def test_blend_is_linear_in_time_and_holds_the_last(keys: int) -> None:
    """Fails when a key is moved, clips or channels are mixed, or values are rounded or clipped."""
    positions = ClipSpec(num_frames=16, num_key_frames=keys).key_positions
    latents = np.random.default_rng(0).normal(size=(2, keys, 2, 3, 4)).astype(np.float32)
    blended = blend(latents, positions, 16)
    assert blended.dtype == np.float32
    np.testing.assert_array_equal(blended[:, positions], latents)
    # Beyond the last key NumPy holds it too.
    expected = np.apply_along_axis(lambda y: np.interp(np.arange(16), positions, y), 1, latents)
    np.testing.assert_allclose(blended, expected, atol=1e-6)


def test_interpolated_frames_are_pixels() -> None:
    keys = np.array([0, 255, 9], np.uint8).reshape(1, 3, 1, 1, 1)
    frames = interpolate(keys, np.array([0, 2, 5]), 7)
    assert frames.dtype == np.uint8 and frames.ravel().tolist() == [0, 128, 255, 173, 91, 9, 9]
