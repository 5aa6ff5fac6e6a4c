"""A video somebody points at."""

from pathlib import Path

import numpy as np
import pytest
from glober_jax.data.media.one_video import read_video
from PIL import Image

from glober_jax import media
from glober_jax.errors import UserError

FRAMES = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.full((5, 24, 32, 3), 40, np.uint8)


def test_file_and_folder_of_frames(tmp_path: Path) -> None:
    """Fails when frames are out of order, not square, or the rate is lost."""
    media.write_mp4(tmp_path / "clip.mp4", FRAMES, fps=12)
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(FRAMES):
        Image.fromarray(frame).save(tmp_path / "frames" / f"{number + 8}.png")
    for path, rate, tolerance in (("clip.mp4", 12.0, 4), ("frames", 0.0, 0)):
        video, fps = read_video(tmp_path / path, 16)
        assert video.shape == (5, 16, 16, 3) and video.dtype == np.uint8 and fps == rate
        assert np.abs(video.astype(int) - FRAMES[:, :16, :16]).max() <= tolerance


def test_what_cannot_be_read(tmp_path: Path) -> None:
    """Fails when a wrong path or a damaged file ends in a stack of frames, or in fewer frames."""
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty.mp4").touch()
    media.write_mp4(tmp_path / "clip.mp4", np.repeat(FRAMES, 20, axis=0), fps=12)
    whole = (tmp_path / "clip.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    for name, sentence in (
        ("missing.mp4", "there is no video"),
        ("notes.txt", "not a video file"),
        ("empty.mp4", "the file is empty"),
        ("cut.mp4", "cut.mp4"),
        (".", "directly holds no frames"),
    ):
        with pytest.raises(UserError, match=sentence):
            read_video(tmp_path / name, 16)
