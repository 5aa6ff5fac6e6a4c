"""Files are read back and sheets are compared pixel by pixel."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence

from glober_jax import media
from glober_jax.errors import UserError


def moving_clip(length: int, height: int, width: int) -> np.ndarray:
    """uint8 [T, H, W, 3]: smooth colours that drift, as video codecs expect."""
    t = np.arange(length)[:, None, None]
    y, x = np.arange(height)[None, :, None], np.arange(width)[None, None, :]
    waves = [np.sin(x / 9 + t / 4), np.cos(y / 7 - t / 5), np.sin((x + y) / 13 + t / 6)]
    return (127.5 + 120 * np.stack([wave + 0 * (x + y + t) for wave in waves], -1)).astype(np.uint8)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


def numbered_videos(count: int, length: int, height: int, width: int) -> np.ndarray:
    """uint8 [N, T, H, W, 3]: the frame at time t of video n is filled with 16 n + t."""
    values = 16 * np.arange(count)[:, None] + np.arange(length)
    shape = (count, length, height, width, 3)
    return np.broadcast_to(values[:, :, None, None, None], shape).astype(np.uint8)


def read_mp4(path: Path) -> tuple[np.ndarray, Fraction]:
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(frames), rate


@pytest.mark.parametrize(("height", "width", "fps"), [(64, 96, 8), (33, 47, 12.5)])
def test_mp4_round_trip(tmp_path: Path, height: int, width: int, fps: float) -> None:
    clip_THWC = moving_clip(16, height, width)
    path = tmp_path / "made" / "clip.mp4"
    media.write_mp4(path, clip_THWC, fps)
    read_THWC, rate = read_mp4(path)
    assert read_THWC.shape == (16, height + height % 2, width + width % 2, 3)
    assert rate == Fraction(fps)
    assert psnr(read_THWC[:, :height, :width], clip_THWC) > 30
    assert [file.name for file in path.parent.iterdir()] == ["clip.mp4"]


def test_mp4_keeps_saturated_colours(tmp_path: Path) -> None:
    color = np.array([200, 30, 40], np.uint8)
    clip_THWC = np.broadcast_to(color, (3, 32, 32, 3)).copy()
    media.write_mp4(tmp_path / "red.mp4", clip_THWC, 8)
    read_THWC, _ = read_mp4(tmp_path / "red.mp4")
    assert np.abs(read_THWC.astype(int) - color).max() <= 4


def test_gif_plays_every_frame_for_ever(tmp_path: Path) -> None:
    clip_THWC = moving_clip(12, 32, 40)
    media.write_gif(tmp_path / "clip.gif", clip_THWC, fps=10)
    with Image.open(tmp_path / "clip.gif") as gif:
        assert (gif.n_frames, gif.info["loop"], gif.info["duration"]) == (12, 0, 100)
        read_THWC = np.stack([np.asarray(f.convert("RGB")) for f in ImageSequence.Iterator(gif)])
    assert psnr(read_THWC, clip_THWC) > 28


def test_png_is_lossless(tmp_path: Path) -> None:
    image_HWC = moving_clip(1, 9, 13)[0]
    media.write_png(tmp_path / "image.png", image_HWC)
    read_HWC = np.asarray(Image.open(io.BytesIO((tmp_path / "image.png").read_bytes())))
    np.testing.assert_array_equal(read_HWC, image_HWC)


def test_tiles_stand_where_documented() -> None:
    videos_NTHWC = numbered_videos(5, 4, 6, 8)
    frames_THWC = media.tile_videos(videos_NTHWC, gap=2)
    assert frames_THWC.shape == (4, 2 * 8 - 2, 3 * 10 - 2, 3)
    expected_THWC = np.full_like(frames_THWC, 255)
    for n in range(5):
        top, left = n // 3 * 8, n % 3 * 10
        expected_THWC[:, top : top + 6, left : left + 8] = videos_NTHWC[n]
    np.testing.assert_array_equal(frames_THWC, expected_THWC)


def test_contact_sheet_spreads_frames_over_time() -> None:
    videos_NTHWC = numbered_videos(2, 10, 6, 8)
    plain_HWC = media.contact_sheet(videos_NTHWC, columns=4, gap=1)
    assert plain_HWC.shape == (2 * 7 - 1, 4 * 9 - 1, 3)
    for n in range(2):
        for column, t in enumerate((0, 3, 6, 9)):
            cell = plain_HWC[n * 7 : n * 7 + 6, column * 9 : column * 9 + 8]
            np.testing.assert_array_equal(cell, videos_NTHWC[n, t])
    assert (plain_HWC[6] == 255).all() and (plain_HWC[:, 8] == 255).all()

    labelled_HWC = media.contact_sheet(videos_NTHWC, 4, 1, row_labels=["first", "second"])
    np.testing.assert_array_equal(labelled_HWC[:, -plain_HWC.shape[1] :], plain_HWC)
    labels_HWC = labelled_HWC[:, : -plain_HWC.shape[1]]
    assert (labels_HWC[:, :4] == 255).all() and labels_HWC.min() < 128


def test_contact_sheet_of_a_short_video_enlarges_each_frame_alone() -> None:
    videos_NTHWC = numbered_videos(1, 3, 6, 8)
    sheet_HWC = media.contact_sheet(videos_NTHWC, columns=8, gap=1, scale=3)
    assert sheet_HWC.shape == (18, 3 * 25 - 1, 3)
    for t in range(3):
        # A constant frame stays constant: neighbours do not bleed into it.
        assert (sheet_HWC[:, 25 * t : 25 * t + 24] == t).all()


def test_comparison_sheet_interleaves_rows_and_separates_clips() -> None:
    real, copy = numbered_videos(2, 4, 16, 16), numbered_videos(2, 4, 16, 16) + 100
    rows = {"real": real, "reconstruction": copy.astype(np.uint8)}
    sheet_HWC = media.comparison_sheet(rows)
    cells_HWC = sheet_HWC[:, -(4 * 17 - 1) :]
    assert len(cells_HWC) == 2 * 33 + 10
    for n, top in enumerate((0, 43)):
        for column in range(4):
            left = column * 17
            for offset, videos in ((0, real), (17, rows["reconstruction"])):
                cell = cells_HWC[top + offset : top + offset + 16, left : left + 16]
                np.testing.assert_array_equal(cell, videos[n, column])
    assert (sheet_HWC[33:43] == 255).all()


@pytest.mark.parametrize("name", ["clip.mp4", "clip.gif"])
def test_unwritable_path_is_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    write = media.write_mp4 if name.endswith("mp4") else media.write_gif
    with pytest.raises(UserError, match=f"cannot write .*{name}: "):
        write(tmp_path / "file" / name, moving_clip(2, 16, 16), 8)


def test_the_longest_names_can_be_written(tmp_path: Path) -> None:
    """Fails when the temporary file's name is too long where the file's own is not."""
    for name in ("n" * 255, "雲" * 85):
        media.write_file(tmp_path / name, b"written")
        assert (tmp_path / name).read_bytes() == b"written"
    assert len(list(tmp_path.iterdir())) == 2


def test_floats_are_refused() -> None:
    with pytest.raises(ValueError, match="float64"):
        media.tile_videos(np.zeros((1, 2, 4, 4, 3)))
