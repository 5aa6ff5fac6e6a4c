"""From inputs to finished shards: decide on splits and shards, then make each by itself."""

import contextlib
import hashlib
import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from etils import epath

from glober_jax.data.building.output import ShardFacts, ShardFile, read_shards, shard_files
from glober_jax.data.building.splits import SPLITS, HeldOut, cut_shards, hold_out, pieces_of
from glober_jax.data.files import forget_listings, is_remote
from glober_jax.data.frames import encode_jpeg, fit_square
from glober_jax.data.media.captions import TextEncoder
from glober_jax.data.media.decode import DecodedVideo, UndecodableError
from glober_jax.data.media.tree import Listing, MediaItem
from glober_jax.data.schema import VideoRecord, record_digest, records_of, serialize
from glober_jax.errors import UserError
from glober_jax.progress import Progress

_CAPTIONS_AT_ONCE = 64
# Frames of longer videos wait on disk until their number is known.
_MOST_IN_MEMORY = 64 * 2**20

# `decode(item, options)`
Decode = Callable[[Any, Any], DecodedVideo]


@dataclass(frozen=True)
class InputFacts:
    """One input: why it cannot be used, or "", and the damage that it is used with.

    Rate (0.0 where unknown) and size are the input's, `num_frames` counts usable frames, `pieces`
    has the split of each video that it became.
    """

    reason: str
    warnings: Sequence[str] = ()
    fps: float = 0.0
    width: int = 0
    height: int = 0
    num_frames: int = 0
    pieces: Sequence[str] = ()


@dataclass(frozen=True)
class Part:
    """The inputs, in order, of one shard of a split, or of one shard of each split.

    `files` are the shards by split; `stamp` is a digest of all that they are made of.
    """

    files: Mapping[str, ShardFile]
    items: Sequence[MediaItem]
    stamp: str

    @property
    def name(self) -> str:
        return next(iter(self.files.values())).path.name


@dataclass(frozen=True)
class MakeShard:
    """The task of a worker; picklable.

    `options` are `MediaOptions` or the like; `labels` are by class name, 0 for none; `encoder`
    loads what embeds captions, which without it are stored alone.
    """

    decode: Decode
    options: Any
    labels: Mapping[str | None, int]
    encoder: Callable[[], TextEncoder] | None = None

    def __call__(self, part: Part) -> None:
        """Makes the shards of a part."""
        inputs: list[InputFacts] = []
        folder = next(iter(part.files.values())).path.parent
        with contextlib.ExitStack() as stack:
            add_video = {
                split: stack.enter_context(file.writing(part.stamp, inputs))
                for split, file in part.files.items()
            }
            for item, text_LE in zip(part.items, self._texts(part.items), strict=True):
                frames = _JpegFrames(folder)
                facts = self._encode(item, frames)
                pieces = []
                if not facts.reason:
                    pieces = pieces_of(len(frames), tuple(add_video), self.options)
                for split, start, stop in pieces:
                    records = self._records(item, facts.fps, frames, start, stop, text_LE)
                    stored = ((serialize(record), record_digest(record)) for record in records)
                    add_video[split](stop - start, stored)
                inputs.append(replace(facts, pieces=[split for split, _, _ in pieces]))

    def _texts(self, items: Sequence[MediaItem]) -> Iterator[np.ndarray | None]:
        """Embeddings of each item's caption, float16 [L, E]."""
        for start in range(0, len(items), _CAPTIONS_AT_ONCE):
            captions = [item.caption for item in items[start : start + _CAPTIONS_AT_ONCE]]
            yield from self.encoder()(captions) if self.encoder else [None] * len(captions)

    def _encode(self, item: MediaItem, frames: "_JpegFrames") -> InputFacts:
        """Decodes an input and appends its frames; one that cannot be used has a `reason`."""
        options, size = self.options, (0, 0)
        try:
            decoded = self.decode(item, options)
            for frame in decoded.frames:
                size = size if frames else frame.size
                square = fit_square(frame, options.size, options.fit)
                frames.append(encode_jpeg(square, options.quality))
        except UndecodableError as error:
            return InputFacts(str(error))
        count, least, warnings = len(frames), options.min_frames, decoded.warnings
        if count >= least:
            return InputFacts("", warnings, decoded.fps, *size, count)
        # One bad frame is often like the next.
        more = [f"and {len(warnings) - 1} more like that"] if len(warnings) > 1 else []
        few = f"has {count} usable frames, fewer than --min_frames={least}"
        return InputFacts("; ".join([few, *warnings[:1], *more]))

    def _records(
        self,
        item: MediaItem,
        fps: float,
        frames: "_JpegFrames",
        begin: int,
        end: int,
        text_LE: np.ndarray | None,
    ) -> Iterator[VideoRecord]:
        """The records of frames `begin` to `end` (excluded) of an input, as a video."""
        is_whole = end - begin == len(frames)
        for start, stop in records_of(end - begin):
            yield VideoRecord(
                item.video_id if is_whole else f"{item.video_id}[{begin}:{end}]",
                self.labels.get(item.class_name, 0),
                fps,
                end - begin,
                start,
                frames.read(begin + start, begin + stop),
                "" if start else item.caption,
                text_LE[:0] if start and text_LE is not None else text_LE,
            )


class _JpegFrames:
    """JPEG frames of one video, in memory or, where those are many, in a file without a name."""

    def __init__(self, folder: epath.Path) -> None:
        # Closed when it is no longer referred to.
        self._file = tempfile.SpooledTemporaryFile(  # noqa: SIM115
            _MOST_IN_MEMORY, dir=None if is_remote(folder) else folder
        )
        self._ends = [0]

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, jpeg: bytes) -> None:
        self._file.write(jpeg)
        self._ends.append(self._file.tell())

    def read(self, start: int, stop: int) -> list[bytes]:
        ends = self._ends[start : stop + 1]
        self._file.seek(ends[0])
        return [self._file.read(end - begin) for begin, end in itertools.pairwise(ends)]


def make_shards(
    listing: Listing,
    make: MakeShard,
    dataset: str,
    folder: epath.Path,
    run: Callable[[MakeShard, Sequence[Part]], Iterable[tuple[Part, Any]]],
) -> tuple[dict[str, list[ShardFacts]], str, dict[str, InputFacts]]:
    """Makes the shards of a dataset that `folder` does not hold yet.

    `run(function, tasks)` calls the function for every task; it may yield those that are done.
    Raises UserError where no input is usable, nothing can be held out, or a worker died.

    Returns:
      The shards by split, how the splits came about (see `hold_out`), and each input's facts by id.
    """
    items, divide = list(listing.items), True
    facts: dict[str, InputFacts] = {}
    while True:
        try:
            held_out, how = hold_out(items, make.options.test_fraction, divide=divide)
        except UserError as error:
            # Rejected inputs might have been enough.
            reasons = _reasons(listing, facts)
            unused = f"; these cannot be used:\n{reasons}" if reasons else ""
            raise UserError(f"{error}{unused}") from error
        parts = _parts(held_out, make.labels, dataset, folder)
        left = [part for part, shards in zip(parts, _read(parts), strict=True) if shards is None]
        total, todo = (sum(len(part.items) for part in some) for some in (parts, left))
        with Progress("decoding", total, total - todo, unit="video") as progress:
            if left:
                for part, _ in run(make, left):
                    progress.advance(len(part.items))
        forget_listings(folder)
        stored: dict[str, list[ShardFacts]] = {split: [] for split in SPLITS}
        for part, shards in zip(parts, _read(parts), strict=True):
            for split, shard in shards.items():
                stored[split].append(shard)
            inputs = (InputFacts(**entry) for entry in next(iter(shards.values())).inputs)
            facts |= zip((item.video_id for item in part.items), inputs, strict=True)
        items = [item for item in items if not facts[item.video_id].reason]
        if not items:
            raise UserError(f"none of the videos can be used:\n{_reasons(listing, facts)}")
        if {split for item in items for split in facts[item.video_id].pieces} == set(SPLITS):
            return stored, how, facts
        # All that should be held out are damaged, or too short to be divided: hold out others.
        divide = divide and SPLITS not in held_out


def rejected(listing: Listing, facts: Mapping[str, InputFacts]) -> dict[str, str]:
    """Why inputs cannot be used, by id, as far as they have been decoded."""
    return dict(listing.rejections) | {name: f.reason for name, f in facts.items() if f.reason}


def _reasons(listing: Listing, facts: Mapping[str, InputFacts]) -> str:
    return "\n".join(f"  {name}: {reason}" for name, reason in rejected(listing, facts).items())


def _parts(
    held_out: HeldOut, labels: Mapping[str | None, int], dataset: str, folder: epath.Path
) -> list[Part]:
    parts = []
    for splits, items in held_out.items():
        stats = [item.stat() for item in items]
        cuts = cut_shards([num_bytes for num_bytes, _ in stats])
        files = [shard_files(folder, dataset, split, len(cuts)) for split in splits]
        for cut, *own in zip(cuts, *files, strict=True):
            facts = [
                (item.video_id, *stat, labels.get(item.class_name), item.caption)
                for item, stat in zip(items[cut], stats[cut], strict=True)
            ]
            stamp = hashlib.sha256(repr((splits, facts)).encode()).hexdigest()[:16]
            parts.append(Part(dict(zip(splits, own, strict=True)), items[cut], stamp))
    return parts


def _read(parts: Sequence[Part]) -> list[dict[str, ShardFacts] | None]:
    """The shards of each part by split, None where one is not finished."""
    found = iter(read_shards((file, p.stamp) for p in parts for file in p.files.values()))
    read = [{split: next(found) for split in part.files} for part in parts]
    return [None if None in shards.values() else shards for shards in read]
