"""Uploaded videos: which frames of them are taken, and which files are refused."""

from pathlib import Path

import numpy as np
import pytest

from glober_jax import media
from glober_jax.demonstration.session import beside, read_clip
from glober_jax.errors import UserError

WANTED = {"num_frames": 8, "num_key_frames": 4, "size": 16}


@pytest.fixture(scope="module")
def brightening(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 seconds at 10 frames a second, 48x32; frame t has the grey value 6 t, the sides are red."""
    frames = np.empty((40, 32, 48, 3), np.uint8)
    frames[:] = 6 * np.arange(40)[:, None, None, None]
    frames[:, :, :8] = frames[:, :, -8:] = (255, 0, 0)
    path = tmp_path_factory.mktemp("upload") / "brightening.mp4"
    media.write_mp4(path, frames, 10)
    return path


def test_a_part_is_spread_over_its_seconds(brightening: Path) -> None:
    """Fails when other seconds are read, the picture is not its middle square, or frames are made
    up where the video has no more or is over."""
    clip = read_clip(brightening, begin=1.0, seconds=2.0, **WANTED)
    assert clip.shape == (8, 16, 16, 3) and clip.dtype == np.uint8
    # From frame 10 on, a quarter of a second, 2.5 frames, apart.
    grey = clip[:, 4:12, 4:12].mean((1, 2, 3)) / 6
    np.testing.assert_allclose(grey, 10 + 2.5 * np.arange(8), atol=1.0)
    assert np.ptp(clip[:, 4:12, 4:12].astype(int), axis=3).max() < 30
    assert len(read_clip(brightening, begin=0.0, seconds=0.5, **WANTED)) == 5
    assert len(read_clip(brightening, begin=3.0, seconds=2.0, **WANTED)) == 4


def test_refuses_what_is_too_short_or_no_video(brightening: Path, tmp_path: Path) -> None:
    """Fails when a part beyond the end is accepted, or another file ends in a stack trace."""
    for begin in (3.8, 30.0):
        with pytest.raises(UserError, match="the model looks at 4"):
            read_clip(brightening, begin=begin, seconds=2.0, **WANTED)
    path = tmp_path / "essay.mp4"
    path.write_text("no video " * 100)
    with pytest.raises(UserError, match="cannot be used"):
        read_clip(path, begin=0.0, seconds=1.0, **WANTED)


def test_frames_beside_slow_motion() -> None:
    """Fails when an original frame is shown before its time, or rounding loses one."""
    clip = np.arange(10, dtype=np.uint8)[:, None, None, None]
    np.testing.assert_array_equal(beside(clip, np.arange(10) / 10).ravel(), np.arange(10))
    slow = beside(clip, 0.5 + 0.5 * np.arange(10) / 10).ravel()
    np.testing.assert_array_equal(slow, np.repeat(np.arange(5, 10), 2))
