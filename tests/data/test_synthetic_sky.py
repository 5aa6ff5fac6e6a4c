"""The synthetic sky: what is promised of the pictures, whatever the taste."""

import numpy as np
from PIL import Image

from glober_jax.data.datasets.sky_render import render_video


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2)))


def test_same_seed_same_pixels_other_seed_other_pixels() -> None:
    """Fails if anything draws from a global or an unseeded generator."""
    first = render_video(3, 6, size=32, num_frames=5)
    assert first.shape == (5, 32, 32, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, render_video(3, 6, size=32, num_frames=5))
    for seed, index in ((4, 6), (3, 10)):
        assert _psnr(first, render_video(seed, index, size=32, num_frames=5)) < 25


def test_scene_does_not_depend_on_size() -> None:
    """Fails if the number of random draws depends on the size, or if geometry is in pixels."""
    for index in range(4):
        small = render_video(1, index, size=32, num_frames=2)
        large = render_video(1, index, size=128, num_frames=2)
        shrunk = [Image.fromarray(frame).resize((32, 32), Image.Resampling.BOX) for frame in large]
        assert _psnr(small, np.stack(shrunk)) > 24


def test_every_third_frame_shows_the_same_video() -> None:
    """Fails if motion accumulates from frame to frame instead of following the time."""
    whole = render_video(2, 1, size=32, num_frames=24)
    sparse = render_video(2, 1, size=32, num_frames=8, step=3)
    np.testing.assert_array_equal(sparse, whole[::3])


def test_classes_can_be_told_apart_and_skies_move() -> None:
    """Fails if a class loses its look (sunsets are red, overcast skies grey, clear ones bluest),
    clouds stand still or the ground moves."""
    frames = np.stack([render_video(0, index, size=32, num_frames=8) for index in range(32)])
    upper_half = frames[:, :, :16].reshape(32, -1, 3).astype(float).mean(axis=1)
    blueness = upper_half[:, 2] - upper_half[:, 0]
    clear, broken, overcast, sunset = blueness.reshape(8, 4).mean(axis=0)
    assert clear > broken + 5 > overcast + 10 > sunset + 20
    change = np.abs(np.diff(frames.astype(float), axis=1)).mean(axis=(0, 1, 3, 4))
    assert change[:16].mean() > 2
    assert change[30:].mean() < 1
