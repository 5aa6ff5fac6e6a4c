"""Decodes inputs, a few at a time, into spool files of JPEG frames.

A unit is a handful of inputs: small enough to be lost without regret when a run is interrupted,
large enough not to flood a folder with files. Its frames are written first and the file that lists
them last, by renaming, so a unit is finished or it does not exist.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from glober_jax.data.building.workers import OnCount
from glober_jax.data.frames import encode_jpeg, fit_square
from glober_jax.data.media.decode import DecodedVideo, UndecodableError
from glober_jax.data.media.options import Fit

_MOST_PER_UNIT = 64
_UNITS = 256


class Item(Protocol):
    """One input: a video file, a folder of frames, a scene to draw."""

    video_id: str
    split: str | None
    group: str
    class_name: str | None
    caption: str

    def num_bytes(self) -> int:
        """What progress is counted in."""

    def stamp(self) -> int:
        """Changes when the input does."""


Decoder = Callable[[Item, OnCount], DecodedVideo]


@dataclass(frozen=True)
class FrameOptions:
    """What becomes of a decoded frame, and how many a video needs; see `MediaOptions`."""

    size: int
    fit: Fit = "crop"
    quality: int = 95
    min_frames: int = 1


@dataclass(frozen=True)
class Extracted:
    """What came of one input.

    Attributes:
      reason: why it cannot be used, or "".
      warnings: what went wrong without making it useless.
      fps: frames per second, 0.0 where unknown.
      width, height: of the input's first frame, in pixels.
      ends: where each JPEG frame ends in the unit's spool file; the first begins at `begin`.
    """

    reason: str
    warnings: Sequence[str]
    fps: float = 0.0
    width: int = 0
    height: int = 0
    begin: int = 0
    ends: Sequence[int] = ()

    def bounds(self, start: int, stop: int) -> list[int]:
        """Offsets in the spool file of frames `start` to `stop` (excluded), and of their end."""
        return [self.begin, *self.ends][start : stop + 1]


@dataclass(frozen=True)
class Unit:
    """Some inputs and the place of what comes of them: PATH.jpegs, PATH.json, PATH.npy (texts)."""

    path: Path
    items: Sequence[Item]

    @property
    def list(self) -> Path:
        return self.path.with_suffix(".json")

    @property
    def jpegs(self) -> Path:
        return self.path.with_suffix(".jpegs")

    @property
    def texts(self) -> Path:
        return self.path.with_suffix(".npy")

    @property
    def is_finished(self) -> bool:
        return self.list.exists()

    def read(self) -> Sequence[Extracted]:
        """What came of each item."""
        return [Extracted(**entry) for entry in json.loads(self.list.read_text("utf-8"))]

    def write(self, results: Sequence[Extracted]) -> None:
        """Finishes the unit, whose frames are already in place."""
        draft = self.path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps([asdict(result) for result in results]), "utf-8")
        draft.replace(self.list)


@dataclass(frozen=True)
class ExtractUnit:
    """The task of a worker: decode every input of a unit."""

    decode: Decoder
    options: FrameOptions

    def __call__(self, unit: Unit, on_count: OnCount) -> None:
        """Counts up each input's `num_bytes`, used or not."""
        draft = unit.path.with_suffix(f".jpegs-{os.getpid()}")
        results = []
        with draft.open("wb") as spool:
            for item in unit.items:
                remaining = item.num_bytes()

                def count(number: int) -> None:
                    nonlocal remaining
                    remaining -= number
                    on_count(number)

                begin = spool.tell()
                try:
                    result = self._extract(item, spool, count)
                except UndecodableError as error:
                    result = Extracted(str(error), ())
                if result.reason:
                    spool.seek(begin)
                    spool.truncate()
                results.append(result)
                on_count(remaining)
        draft.replace(unit.jpegs)
        unit.write(results)

    def _extract(self, item: Item, spool, on_count: OnCount) -> Extracted:
        decoded = self.decode(item, on_count)
        begin, ends, size = spool.tell(), [], (0, 0)
        for frame in decoded.frames:
            size = size if ends else frame.size
            spool.write(self._jpeg(frame))
            ends.append(spool.tell())
        warnings = tuple(decoded.warnings)
        if len(ends) < self.options.min_frames:
            reason = f"has {len(ends)} usable frames, fewer than --min_frames="
            return Extracted("; ".join([f"{reason}{self.options.min_frames}", *_few(warnings)]), ())
        return Extracted("", warnings, decoded.fps, *size, begin, ends)

    def _jpeg(self, frame: Image.Image) -> bytes:
        options = self.options
        return encode_jpeg(fit_square(frame, options.size, options.fit), options.quality)


def _few(warnings: Sequence[str]) -> list[str]:
    """The first of them, and how many there are: one bad frame is often like the next."""
    more = len(warnings) - 1
    return [*warnings[:1], *([f"and {more} more like that"] if more > 0 else [])]


def units_of(items: Sequence[Item], folder: Path) -> list[Unit]:
    """Cuts the items into units in `folder`; depends on nothing else, so a rerun finds them."""
    size = max(1, min(_MOST_PER_UNIT, len(items) // _UNITS))
    return [
        Unit(folder / f"{number:08d}", items[start : start + size])
        for number, start in enumerate(range(0, len(items), size))
    ]
