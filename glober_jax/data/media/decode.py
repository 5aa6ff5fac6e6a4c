"""Decodes video files and image folders as streams: one frame in memory at a time.

Pictures come as a viewer shows them: 8 bits a colour, upright, with square pixels.

Dimension key: T frames, H = W frame size, C = 3 colours (RGB).
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import av
import numpy as np
from etils import epath
from PIL import Image, ImageOps, UnidentifiedImageError

from glober_jax.data.files import data_path, local_file
from glober_jax.data.frames import fit_square
from glober_jax.data.media.tree import VIDEO_SUFFIXES, MediaItem, find_media, kind_of
from glober_jax.errors import UserError

# Longer pauses count as this many seconds, or a broken timestamp would fill the disk with a still.
_LONGEST_PAUSE = 1.0
# The tag of a TIFF file for the number of bits of a value.
_BITS_PER_SAMPLE = 258

TimedFrame = tuple[float, Image.Image]


class UndecodableError(Exception):
    """Nothing can be read from this input; the message says why."""


@dataclass
class DecodedVideo:
    """An opened input: frames per second, 0.0 where unknown, and images of the input's own size.

    `frames` can be iterated once; afterwards `warnings` lists the damage.
    """

    fps: float
    frames: Iterator[Image.Image]
    warnings: list[str] = field(default_factory=list)


def read_video(path: epath.PathLike, size: int) -> tuple[np.ndarray, float]:
    """All frames, uint8 [T, H, W, C], and rate, or 0.0, of a video file or a folder of images.

    Frames are cropped to `size` x `size`. Raises UserError for a missing or damaged video.
    """
    try:
        video = decode_media(_one_item(data_path(path)))
        frames = [np.asarray(fit_square(frame, size)) for frame in video.frames]
    except UndecodableError as error:
        raise UserError(f"cannot read {path}: {error}") from error
    if not frames:
        raise UserError(f"cannot read {path}: it holds no frame that can be decoded")
    if video.warnings:
        raise UserError(f"{path} is damaged: {video.warnings[0]}; mend or cut it first")
    return np.stack(frames), video.fps


def decode_media(item: MediaItem, fps: float | None = None) -> DecodedVideo:
    """Opens one input, at a lower rate of `fps` or at its own; images are taken to be at `fps`.

    Raises UndecodableError where the input holds nothing readable.
    """
    if item.is_images:
        warnings: list[str] = []
        return DecodedVideo(fps or 0.0, _image_frames(item.files, warnings), warnings)
    return _open_video(item.files[0], fps)


def resample(timed_frames: Iterable[TimedFrame], fps: float) -> Iterator[Image.Image]:
    """The frame nearest to each tick of a clock; `timed_frames` are (seconds, frame), ascending."""
    tick, now, previous, held = 0, 0.0, 0.0, None
    for seconds, frame in timed_frames:
        if held is not None:
            step = min(max(seconds - previous, 0.0), _LONGEST_PAUSE)
            while tick / fps <= now + step / 2:
                yield held
                tick += 1
            now += step
        previous, held = seconds, frame
    while held is not None and tick / fps <= now:
        yield held
        tick += 1


def _one_item(path: epath.Path) -> MediaItem:
    if path.is_dir():
        for item in find_media(path).items:
            if item.is_images and item.files[0].parent == path:
                return item
        raise UserError(f"{path} directly holds no frames of a video: give a file or such a folder")
    if not path.is_file():
        raise UserError(f"there is no video {path}")
    if kind_of(path.name) != "video":
        known = ", ".join(sorted(VIDEO_SUFFIXES))
        raise UserError(f"{path} is not a video file: those end in {known}")
    return MediaItem(path.name, (path,), is_images=False)


def _image_frames(files: Sequence[epath.PathLike], warnings: list[str]) -> Iterator[Image.Image]:
    for path in files:
        try:
            with local_file(path) as local, Image.open(local) as image:
                frame = _picture_of_image(image)
        # Pillow's format readers raise all of these on damaged files.
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
            warnings.append(f"frame {path.name} left out: {_reason(error)}")
        else:
            yield frame


def _open_video(file: epath.PathLike, fps: float | None) -> DecodedVideo:
    try:
        with local_file(file) as local:
            if local.stat().st_size == 0:
                raise UndecodableError("the file is empty")
            container = av.open(str(local))
    except (OSError, av.FFmpegError, UnicodeError) as error:
        raise UndecodableError(f"not a readable video ({_reason(error)})") from error
    if not container.streams.video:
        container.close()
        raise UndecodableError("holds no video stream")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    # The average counts frames that a cut without encoding left in the file and no player shows.
    is_cut = any(entry.is_discard for entry in stream.index_entries)
    average_rate = None if is_cut else stream.average_rate
    source_fps = float(average_rate or stream.guessed_rate or 0.0)
    warnings: list[str] = []
    timed_frames = _timed_frames(container, stream, source_fps, warnings)
    # Rates such as 30000/1001 must not count as different from the 29.97 somebody typed.
    if fps is None or source_fps < fps or math.isclose(source_fps, fps, rel_tol=1e-3):
        return DecodedVideo(source_fps, (frame for _, frame in timed_frames), warnings)
    return DecodedVideo(fps, resample(timed_frames, fps), warnings)


def _timed_frames(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    fps: float,
    warnings: list[str],
) -> Iterator[TimedFrame]:
    """Decodes to the end or to the first error, which becomes a warning."""
    expected, decoded = stream.frames, 0
    if expected and "mp4" in container.format.name:
        # Its edit list may leave out some of the stored frames.
        expected = sum(not entry.is_discard for entry in stream.index_entries)
    with container:
        try:
            for frame in container.decode(stream):
                seconds = frame.time if frame.time is not None else decoded / (fps or 1.0)
                yield seconds, _picture_of_video(frame, stream)
                decoded += 1
        except av.FFmpegError as error:
            warnings.append(f"decoding stopped after {decoded} frames ({_reason(error)})")
            return
    if decoded < expected:
        warnings.append(f"only {decoded} of {expected} frames could be decoded")


def _picture_of_image(image: Image.Image) -> Image.Image:
    """The RGB picture of an image file; 16-bit grey values are divided by 257, alpha is dropped.

    Raises ValueError where the range of its values is unknown, or it holds several pictures.
    """
    # Phones put a second, smaller picture into a JPEG file.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise ValueError(
            f"it holds {image.n_frames} pictures, not one: make it a video file, or a file of each"
        )
    # A copy would not say of which format it was.
    ImageOps.exif_transpose(image, in_place=True)
    return _eight_bit(image).convert("RGB")


def _picture_of_video(frame: av.VideoFrame, stream: av.VideoStream) -> Image.Image:
    """The RGB picture of a decoded frame, its pixels made square by enlarging, then turned."""
    image = frame.to_image()
    if (aspect := stream.sample_aspect_ratio or 1) != 1:
        width, height = image.size
        size = (width * aspect, height) if aspect > 1 else (width, height / aspect)
        image = image.resize([round(side) for side in size], Image.Resampling.BICUBIC)
    return image.rotate(frame.rotation, expand=True) if frame.rotation else image


def _eight_bit(image: Image.Image) -> Image.Image:
    """The image with 8 bits a value; Pillow alone cuts off what is above 255."""
    # Pillow stretches the values of PGM files to 16 bits.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))[0]
        scaled = np.asarray(image, np.float32) * (255 / (2**bits - 1))
        return Image.fromarray(scaled.round().astype(np.uint8))
    if image.mode in ("I", "F"):
        kind = "32-bit integers" if image.mode == "I" else "floating-point numbers"
        raise ValueError(f"its values are {kind}, whose range is unknown: store 8 or 16 bits")
    if image.mode == "P":
        # Says nothing of transparent entries, which Pillow warns about.
        return image.convert("RGBA")
    return image


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image"
    return getattr(error, "strerror", None) or str(error)
