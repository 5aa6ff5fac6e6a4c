"""Decodes video files and image folders as streams: one frame in memory at a time."""

import io
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

import av
from PIL import Image, UnidentifiedImageError

from glober_jax.data.media import picture
from glober_jax.data.media.archive import read_file
from glober_jax.data.media.catalogue import read_frames
from glober_jax.data.media.tree import MediaItem

# A longer pause between two frames counts as this many seconds, so that one broken timestamp
# cannot fill a disk with copies of a still.
_LONGEST_PAUSE = 1.0

TimedFrame = tuple[float, Image.Image]


class UndecodableError(Exception):
    """Nothing can be read from this input; the message says why."""


@dataclass
class DecodedVideo:
    """An opened input.

    Attributes:
      fps: frames per second of `frames`, 0.0 where unknown.
      frames: images of the input's own size, in order; may be iterated once.
      warnings: what went wrong so far without making the input useless; complete once `frames`
        is exhausted.
    """

    fps: float
    frames: Iterator[Image.Image]
    warnings: list[str] = field(default_factory=list)


def decode_media(
    item: MediaItem, on_bytes: Callable[[int], None], fps: float | None = None
) -> DecodedVideo:
    """Opens one input for reading.

    Args:
      item: what to read.
      on_bytes: called with the number of input bytes consumed since the last call.
      fps: frame rate to resample to; None keeps every frame. A slower video keeps its own rate,
        and images, which have no clock, are taken to be at this rate already.

    Raises:
      UndecodableError: the input holds nothing readable.
    """
    if not item.is_images and item.record is None:
        return _open_video(item, fps, on_bytes)
    warnings: list[str] = []
    frames = _image_frames(_encoded_images(item), warnings, on_bytes)
    return DecodedVideo(fps or 0.0, frames, warnings)


def resample(timed_frames: Iterable[TimedFrame], fps: float) -> Iterator[Image.Image]:
    """Takes, for each tick of a clock at `fps`, the frame nearest in time.

    Args:
      timed_frames: (seconds, frame) in order of time, starting at any time.
      fps: ticks per second.

    Yields:
      One frame per tick from the first frame's time to the last's: some dropped, some repeated.
    """
    tick, now, held = 0, 0.0, None
    previous = 0.0
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


def _encoded_images(item: MediaItem) -> list[tuple[str, Callable[[], bytes]]]:
    """Name of each image, and what reads it."""
    if item.record is None:
        return [(path.name, partial(read_file, item.archive, path)) for path in item.files]
    try:
        images = read_frames(item.files[0], item.record)
    except OSError as error:
        raise UndecodableError(_reason(error)) from error
    return [(str(number), partial(bytes, image)) for number, image in enumerate(images)]


def _image_frames(
    images: Iterable[tuple[str, Callable[[], bytes]]],
    warnings: list[str],
    on_bytes: Callable[[int], None],
) -> Iterator[Image.Image]:
    for name, read in images:
        try:
            data = read()
            with Image.open(io.BytesIO(data)) as image:
                frame = picture.of_image(image)
        # Pillow's format readers raise all of these on damaged files.
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
            warnings.append(f"frame {name} left out: {_reason(error)}")
            continue
        yield frame
        on_bytes(len(data))


def _open_video(
    item: MediaItem, fps: float | None, on_bytes: Callable[[int], None]
) -> DecodedVideo:
    try:
        if item.archive is None:
            source, size = str(item.files[0]), item.files[0].stat().st_size
        else:
            data = read_file(item.archive, item.files[0])
            source, size = io.BytesIO(data), len(data)
        if size == 0:
            raise UndecodableError("the file is empty")
        container = av.open(source)
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
    timed_frames = _timed_frames(container, stream, source_fps, warnings, on_bytes)
    # Rates such as 30000/1001 must not count as different from the 29.97 somebody typed.
    if fps is None or source_fps < fps or math.isclose(source_fps, fps, rel_tol=1e-3):
        return DecodedVideo(source_fps, (frame for _, frame in timed_frames), warnings)
    return DecodedVideo(fps, resample(timed_frames, fps), warnings)


def _timed_frames(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    fps: float,
    warnings: list[str],
    on_bytes: Callable[[int], None],
) -> Iterator[TimedFrame]:
    """Decodes to the end or to the first error, which becomes a warning."""
    expected, decoded = _shown_frames(stream), 0
    with container:
        try:
            for packet in container.demux(stream):
                on_bytes(packet.size)
                for frame in packet.decode():
                    seconds = frame.time if frame.time is not None else decoded / (fps or 1.0)
                    yield seconds, picture.of_video(frame, stream)
                    decoded += 1
        except av.FFmpegError as error:
            warnings.append(f"decoding stopped after {decoded} frames ({_reason(error)})")
            return
    if decoded < expected:
        warnings.append(f"only {decoded} of {expected} frames could be decoded")


def _shown_frames(stream: av.VideoStream) -> int:
    """How many frames the container says a player shows; 0 where it does not say."""
    if stream.frames and "mp4" in stream.container.format.name:
        # Its edit list may leave out some of those stored.
        return sum(not entry.is_discard for entry in stream.index_entries)
    return stream.frames


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image"
    return getattr(error, "strerror", None) or str(error)
