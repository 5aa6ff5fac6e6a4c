"""Video files and folders of frames become frames: all of them, in order, at the wanted rate."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glober_jax import media
from glober_jax.data.media.decode import decode_media, read_video, resample
from glober_jax.data.media.tree import find_media
from glober_jax.errors import UserError
from tests.data.videos import write_video

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


def test_every_container_is_read(tmp_path: Path) -> None:
    """Fails when videos are left out for their suffix, or lose frames or their rate."""
    codecs = {
        ".m4v": "mpeg4", ".3gp": "mpeg4", ".wmv": "wmv2", ".flv": "flv", ".f4v": "libx264",
        ".mpg": "mpeg2video", ".mpeg": "mpeg1video", ".mts": "mpeg2video", ".TS": "mpeg2video",
        ".m2ts": "mpeg2video", ".ogv": "libvpx", ".y4m": "wrapped_avframe",
    }  # fmt: skip
    for suffix, codec in codecs.items():
        write_video(tmp_path / f"clip{suffix}", 20, 25, codec)
    videos = {item.files[0].suffix: decode_media(item) for item in find_media(tmp_path).items}
    assert videos.keys() == codecs.keys()
    for suffix, video in videos.items():
        assert len(list(video.frames)) == 20 and video.fps == pytest.approx(25), suffix


def test_resampling_takes_the_nearest_frame_and_bounds_pauses() -> None:
    frames = [Image.new("L", (1, 1), i) for i in range(4)]

    def values(times: list[float], fps: float) -> list[int]:
        timed = zip(times, frames, strict=False)
        return [frame.getpixel((0, 0)) for frame in resample(timed, fps)]

    assert values([5.0, 5.1, 5.2, 5.3], 5) == [0, 2]
    assert values([0.0, 0.3, 0.4, 0.5], 10) == [0, 0, 1, 1, 2, 3]
    # A broken timestamp a year ahead counts as a pause of one second.
    assert len(values([0.0, 0.1, 3e7, 3e7 + 0.1], 10)) == 13
