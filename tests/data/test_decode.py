"""Video files and folders of frames become frames: all, in order, upright, in 8 bits."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from glober_jax import media
from glober_jax.data.media.decode import decode_media, read_video, resample
from glober_jax.data.media.tree import find_media
from glober_jax.demonstration.session import read_clip
from glober_jax.errors import UserError
from glober_jax.evaluation.video_io import open_video_set
from tests.data.videos import write_video

GREYS = np.array([0, 64, 128, 255], np.uint8)
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


def _grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.repeat(np.repeat(values[None], 16, 0), 4, 1))


def _twelve_bit_pgm() -> bytes:
    values = np.asarray(_grey(GREYS), np.uint32) * 4095 // 255
    return b"P5 16 16 4095\n" + values.astype(">u2").tobytes()


def _palette(image: Image.Image, transparency: bytes | int) -> bytes:
    return _stored(image.convert("P"), "PNG", transparency=transparency)


def _stored(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("suffix", "make"),
    [
        (".png", lambda: _stored(_grey(GREYS), "PNG")),
        (".png", lambda: _stored(_grey(GREYS.astype(np.uint16) * 257), "PNG")),
        (".tif", lambda: _stored(_grey(GREYS.astype(np.uint16) * 257), "TIFF")),
        (".TIFF", lambda: _stored(_grey(GREYS).convert("RGB"), "TIFF")),
        (".pgm", lambda: _stored(_grey(GREYS.astype(np.uint16) * 257), "PPM")),
        (".pgm", _twelve_bit_pgm),
        (".jp2", lambda: _stored(_grey(GREYS.astype(np.uint16) * 257), "JPEG2000")),
        (".png", lambda: _stored(_grey(GREYS).convert("LA"), "PNG")),
        (".png", lambda: _stored(_grey(GREYS).convert("RGBA"), "PNG")),
        (".png", lambda: _palette(_grey(GREYS), 0)),
        (".png", lambda: _palette(_grey(GREYS), bytes([0, 128, 255]))),
    ],
)
def test_every_depth_of_images_becomes_8_bits(tmp_path: Path, suffix: str, make) -> None:
    """Fails when values above 255 become white, or are cut to their low byte."""
    for number in range(2):
        (tmp_path / f"{number}{suffix}").write_bytes(make())
    expected = np.repeat(np.asarray(_grey(GREYS))[None, ..., None], 3, -1)
    for frames in (read_video(tmp_path, 16)[0], open_video_set(tmp_path).read(0, [0, 1])):
        assert np.abs(frames.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (_stored(_grey(GREYS.astype(np.float32)), "TIFF"), "floating-point numbers"),
        (_stored(_grey(GREYS.astype(np.int32)), "TIFF"), "32-bit integers"),
        (
            _stored(_grey(GREYS), "TIFF", save_all=True, append_images=[_grey(GREYS)]),
            "it holds 2 pictures",
        ),
    ],
)
def test_images_of_unknown_meaning_are_refused(tmp_path: Path, stored: bytes, reason: str) -> None:
    """Fails when values whose white nobody knows are guessed, or later pictures dropped."""
    (tmp_path / "0.tif").write_bytes(stored)
    (tmp_path / "1.png").write_bytes(_stored(_grey(GREYS), "PNG"))
    with pytest.raises(UserError, match=f"0.tif left out: .*{reason}"):
        read_video(tmp_path, 16)


@pytest.mark.parametrize("pixels", ["gray", "gray10le", "gray12le", "gray16le", "yuv444p10le"])
def test_every_depth_of_videos_becomes_8_bits(tmp_path: Path, pixels: str) -> None:
    """Fails when 10 bits and more come out black or white."""
    _write(tmp_path / "clip.mkv", _grey(GREYS).convert("RGB"), "ffv1", pixels)
    frames, _ = read_video(tmp_path / "clip.mkv", 16)
    assert np.abs(frames[0, 8, 2::4].astype(int) - GREYS[:, None]).max() <= 2


@pytest.mark.parametrize(
    ("size", "aspect", "shown"),
    [
        ((160, 180), Fraction(2), (320, 180)),
        ((144, 108), Fraction(4, 3), (192, 108)),
        ((72, 48), Fraction(8, 9), (72, 54)),
        ((64, 48), Fraction(0), (64, 48)),
    ],
)
def test_pixels_become_square(
    tmp_path: Path, size: tuple[int, int], aspect: Fraction, shown: tuple[int, int]
) -> None:
    """Fails when a video of other pixels is used squashed, anywhere, or enlarged by the inverse."""
    picture = Image.new("RGB", size)
    side = min(shown)
    # What is a square to see, in the middle.
    part = [round(side / 2 * s / n) for s, n in zip(size, shown, strict=True)]
    left, top = (s // 2 - p // 2 for s, p in zip(size, part, strict=True))
    picture.paste((255, 255, 255), (left, top, left + part[0], top + part[1]))
    _write(tmp_path / "clip.mov", picture, "png", "rgb24", aspect)
    expected = np.zeros((32, 32, 3))
    expected[8:24, 8:24] = 255
    videos = open_video_set(tmp_path)
    assert videos.size == shown[::-1] and videos.read(0, [0]).shape == (1, *shown[::-1], 3)
    part = {"begin": 0.0, "seconds": 1.0, "num_frames": 2, "num_key_frames": 1}
    for frames in (
        read_video(tmp_path / "clip.mov", 32)[0],
        read_clip(tmp_path / "clip.mov", **part, size=32),
    ):
        assert np.abs(frames[0] - expected).mean() < 12


def test_a_cut_without_encoding_is_sound(tmp_path: Path) -> None:
    """Fails when frames that an edit list hides are shown, or a file without its end passes."""
    ramp = np.arange(80, dtype=np.uint8)[:, None, None, None] * np.full(
        (80, 64, 64, 3), 3, np.uint8
    )
    media.write_mp4(tmp_path / "whole.mp4", ramp, fps=10)
    _copy_from(tmp_path / "whole.mp4", tmp_path / "cut.mp4", seconds=1.7)
    frames, fps = read_video(tmp_path / "cut.mp4", 16)
    assert len(frames) == 63 and fps == 10
    assert np.abs(frames[:, 8, 8].astype(int) - ramp[17:, 8, 8]).max() <= 4
    content = (tmp_path / "cut.mp4").read_bytes()
    (tmp_path / "short.mp4").write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(UserError, match=r"short\.mp4"):
        read_video(tmp_path / "short.mp4", 16)


def _write(
    path: Path, picture: Image.Image, codec: str, pixels: str, aspect: Fraction = Fraction(1)
) -> None:
    """Two equal frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=8)
        stream.width, stream.height = picture.size
        stream.pix_fmt = pixels
        stream.codec_context.sample_aspect_ratio = aspect
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_image(picture).reformat(format=pixels)))
        container.mux(stream.encode())


def _copy_from(source: Path, target: Path, seconds: float) -> None:
    """`ffmpeg -ss <seconds> -i <source> -c copy`, with the index first."""
    with (
        av.open(str(source)) as whole,
        av.open(str(target), "w", options={"movflags": "faststart"}) as cut,
    ):
        stream = whole.streams.video[0]
        copied = cut.add_stream_from_template(stream)
        start = round(seconds / stream.time_base)
        whole.seek(start, stream=stream)
        for packet in whole.demux(stream):
            if packet.dts is not None:
                packet.pts -= start
                packet.dts -= start
                packet.stream = copied
                cut.mux(packet)
