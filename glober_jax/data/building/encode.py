"""Decodes one input and encodes its frames: what of a preparation takes the time."""

import itertools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from glober_jax.data.building.pool import OnCount
from glober_jax.data.building.splits import Item
from glober_jax.data.frames import encode_jpeg, fit_square
from glober_jax.data.media.decode import DecodedVideo, UndecodableError
from glober_jax.data.media.options import Fit

# Of longer videos the frames wait on disk until it is known how many there are.
_MOST_IN_MEMORY = 64 * 2**20

Decoder = Callable[[Item, OnCount], DecodedVideo]


@dataclass(frozen=True)
class FrameOptions:
    """What becomes of a decoded frame, and how many a video needs; see `MediaOptions`."""

    size: int
    fit: Fit = "crop"
    quality: int = 95
    min_frames: int = 1


@dataclass(frozen=True)
class InputFacts:
    """What came of one input.

    Attributes:
      reason: why it cannot be used, or "".
      warnings: what went wrong without making it useless.
      fps: frames per second, 0.0 where unknown.
      width, height: of the input's first frame, in pixels.
      num_frames: how many could be used.
      pieces: the split of each video that it became.
    """

    reason: str
    warnings: Sequence[str] = ()
    fps: float = 0.0
    width: int = 0
    height: int = 0
    num_frames: int = 0
    pieces: Sequence[str] = ()


class EncodedFrames:
    """JPEG frames of one video, in memory or, where those are many, in a file without a name."""

    def __init__(self, folder: Path) -> None:
        """Starts with none; a file would be on the disk of `folder`."""
        # Closed when it is no longer referred to.
        self._file = tempfile.SpooledTemporaryFile(_MOST_IN_MEMORY, dir=folder)  # noqa: SIM115
        self._ends = [0]

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, jpeg: bytes) -> None:
        self._file.write(jpeg)
        self._ends.append(self._file.tell())

    def read(self, start: int, stop: int) -> list[bytes]:
        """Frames `start` to `stop` (excluded)."""
        ends = self._ends[start : stop + 1]
        self._file.seek(ends[0])
        return [self._file.read(end - begin) for begin, end in itertools.pairwise(ends)]


def encode_input(
    item: Item, decode: Decoder, options: FrameOptions, folder: Path, on_count: OnCount
) -> tuple[InputFacts, EncodedFrames]:
    """Decodes an input to JPEG frames; one that cannot be used has a `reason`."""
    frames, size = EncodedFrames(folder), (0, 0)
    try:
        decoded = decode(item, on_count)
        for frame in decoded.frames:
            size = size if frames else frame.size
            square = fit_square(frame, options.size, options.fit)
            frames.append(encode_jpeg(square, options.quality))
    except UndecodableError as error:
        return InputFacts(str(error)), frames
    warnings = tuple(decoded.warnings)
    reason = ""
    if len(frames) < options.min_frames:
        few = f"has {len(frames)} usable frames, fewer than --min_frames={options.min_frames}"
        reason, warnings = "; ".join([few, *_some(warnings)]), ()
    return InputFacts(reason, warnings, decoded.fps, *size, len(frames)), frames


def _some(warnings: Sequence[str]) -> list[str]:
    """The first of them, and how many there are: one bad frame is often like the next."""
    more = len(warnings) - 1
    return [*warnings[:1], *([f"and {more} more like that"] if more > 0 else [])]
