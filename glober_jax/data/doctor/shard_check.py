"""Reads one shard to the last record and frame.

Shards are read each on its own and by position, below TFDS, so that what is broken hides nothing
else. A record's checksum inside the file tells when the disk changed it; the file's own checksum
tells of changes between records, which no reader notices, and of records that were replaced.
"""

import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader
from google.protobuf.message import DecodeError

from glober_jax.data.building.pool import OnCount
from glober_jax.data.building.shard_file import file_checksum
from glober_jax.data.doctor.findings import DAMAGE, Finding, Kind
from glober_jax.data.frames import decode_jpeg, jpeg_shape
from glober_jax.data.schema import VideoRecord, deserialize, record_digest

_MOST_NAMED = 5
# The most there are in what prepare writes, of black frames, is 37.
_MOST_PIXELS_PER_BYTE = 100
_READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"


@dataclass(frozen=True)
class Shard:
    """A shard to check: its file, what it should hold (None where unknown), and its split."""

    path: Path
    num_records: int | None
    checksum: str | None
    split: str

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def num_bytes(self) -> int:
        """0 where there is no such file."""
        return self.path.stat().st_size if self.path.is_file() else 0


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What is kept of a video of which something could be read.

    Attributes:
      split, shard, video_id: as in `Finding`.
      record: the first that could be read.
      digests: of its records' content, as `record_digest` has them, one after the other.
      frames_digest: of its frames alone.
      size: width and height of its frames; None where they differ or none decodes.
      num_frames: how many could be read.
    """

    split: str
    shard: str
    record: int
    video_id: str
    digests: str
    frames_digest: bytes
    size: tuple[int, int] | None
    num_frames: int

    def finding(self, kind: Kind, what: str) -> Finding:
        return Finding(kind, what, self.split, self.shard, self.record, self.video_id)


@dataclass(frozen=True)
class ShardResult:
    """What came of a shard.

    Attributes:
      findings: what is wrong in it.
      videos: those of which something could be read, in order.
      frames: 64-bit digests of the frames of each.
    """

    findings: list[Finding] = field(default_factory=list)
    videos: list[VideoFacts] = field(default_factory=list)
    frames: list[np.ndarray] = field(default_factory=list)

    @property
    def is_damaged(self) -> bool:
        return any(finding.kind in DAMAGE for finding in self.findings)


@dataclass(frozen=True)
class CheckShard:
    """The task of a worker: check one shard.

    Attributes:
      text_shape: (L, E) of every embedded caption, L None where unknown; None where there is none.
      num_labels: labels there may be, None where unknown.
      min_frames: shorter videos are findings.
    """

    text_shape: tuple[int | None, int] | None
    num_labels: int | None
    min_frames: int

    def __call__(self, shard: Shard, on_count: OnCount) -> ShardResult:
        """Counts up the shard's `num_bytes` when it is done."""
        result = ShardResult()
        self._check(shard, result)
        on_count(shard.num_bytes)
        return result

    def _check(self, shard: Shard, result: ShardResult) -> None:
        def add(kind: Kind, what: str, record: int | None = None) -> None:
            result.findings.append(Finding(kind, what, shard.split, shard.path.name, record))

        lost = "" if shard.num_records is None else f"; it held {shard.num_records} records"
        if not shard.path.is_file():
            return add("shard", f"is missing{lost}")
        try:
            checksum = file_checksum(shard.path)
        except OSError as error:
            return add("shard", f"cannot be read ({error.strerror}){lost}")
        reader = ArrayRecordReader(str(shard.path), _READER_OPTIONS)
        if not reader.ok():
            why = "it was cut short or its index is damaged" if shard.num_bytes else "it is empty"
            return add("shard", f"cannot be opened, {why}{lost}")
        count = reader.num_records()
        if shard.num_records not in (None, count):
            add("shard", f"holds {count} records, not {shard.num_records} as described")
        records, unreadable, garbled = [], [], []
        for number in range(count):
            try:
                (data,) = reader.read([number])
            except (RuntimeError, IndexError, ValueError):
                unreadable.append(number)
                continue
            place = Finding("record", "", shard.split, shard.path.name, number)
            try:
                record = deserialize(data, self.text_shape and self.text_shape[1])
            except DecodeError as error:
                garbled.append(number)
                result.findings.append(replace(place, what=str(error)))
                continue
            place = replace(place, video_id=record.video_id)
            sizes, corrupt = _decode(record.frames, record.start)
            records.append(_Record.of(number, record, sizes))
            result.findings.extend(replace(place, what=what) for what in self._faults(record))
            if corrupt:
                result.findings.append(replace(place, kind="frames", what=corrupt))
        for first, length in _runs(unreadable):
            rest = f", nor can the {length - 1} after it" if length > 1 else ""
            add("record", f"cannot be read{rest}: bytes were changed", first)
        for video in _videos(records):
            self._check_video(video, shard, {*unreadable, *garbled}, result)
        if shard.checksum not in (None, checksum) and not result.is_damaged:
            add("content", "is not the file that prepare wrote, though every record can be read")
        return None

    def _check_video(
        self, video: "Sequence[_Record]", shard: Shard, lost: set[int], result: ShardResult
    ) -> None:
        """Adds a video's facts and frames, and what is wrong with it as a whole."""
        frames = [digest for record in video for digest in record.frames]
        sizes = set().union(*(record.sizes for record in video))
        facts = VideoFacts(
            shard.split,
            shard.path.name,
            video[0].number,
            video[0].video_id,
            "".join(record.digest for record in video),
            hashlib.blake2b(b"".join(frames), digest_size=8).digest(),
            next(iter(sizes)) if len(sizes) == 1 else None,
            len(frames),
        )
        result.videos.append(facts)
        result.frames.append(np.frombuffer(b"".join(frames), np.uint64))

        def add(kind: Kind, what: str, record: int = facts.record) -> None:
            result.findings.append(replace(facts.finding(kind, what), record=record))

        expected, is_whole = 0, True
        for record in video:
            # What is lacking around records that cannot be read is no surprise.
            if record.start != expected and record.number - 1 not in lost:
                what = f"begins with frame {record.start} of its video, where {expected} should be"
                add("record", what, record.number)
            is_whole &= record.start == expected and record.number + 1 not in lost
            expected = record.stop
        if is_whole and expected != record.num_frames:
            what = f"is of a video of {record.num_frames} frames, of which only {expected} are here"
            add("record", what)
        if len(sizes) > 1:
            found = " and ".join(f"{width}x{height}" for width, height in sorted(sizes))
            add("frame_size", f"has frames of {found} pixels")
        if record.num_frames < self.min_frames:
            add("short_clip", f"has {record.num_frames} frames, fewer than {self.min_frames}")

    def _faults(self, record: VideoRecord) -> Iterator[str]:
        # Without classes all have label 0.
        if self.num_labels is not None and not 0 <= record.label < max(self.num_labels, 1):
            yield f"has label {record.label}, but there are {self.num_labels} classes"
        if not (math.isfinite(record.fps) and record.fps >= 0):
            yield f"has {record.fps} frames per second"
        if record.text_LE is None:
            return
        length = self.text_shape[0] if record.start == 0 else 0
        if length not in (None, len(record.text_LE)):
            yield f"has {len(record.text_LE)} token embeddings, not {length}"
        if not np.isfinite(record.text_LE).all():
            yield "has an embedded caption with numbers that are not finite"
        if len(record.text_LE) and not record.caption:
            yield "has an embedded caption, but the caption is empty"


@dataclass(frozen=True, slots=True)
class _Record:
    """What is kept of a record: digests of it and of its frames, and the sizes of those."""

    number: int
    video_id: str
    num_frames: int
    start: int
    digest: str
    frames: Sequence[bytes]
    sizes: set[tuple[int, int]]

    @classmethod
    def of(cls, number: int, record: VideoRecord, sizes: set[tuple[int, int]]) -> Self:
        frames = [hashlib.blake2b(frame, digest_size=8).digest() for frame in record.frames]
        digest = record_digest(record)
        return cls(number, record.video_id, record.num_frames, record.start, digest, frames, sizes)

    @property
    def stop(self) -> int:
        return self.start + len(self.frames)


def _videos(records: Sequence[_Record]) -> Iterator[list[_Record]]:
    """The records of each video, in order."""
    video: list[_Record] = []
    for record in records:
        if video and (
            (record.video_id, record.num_frames) != (video[-1].video_id, video[-1].num_frames)
            or record.start < video[-1].stop
        ):
            yield video
            video = []
        video.append(record)
    if video:
        yield video


def _decode(frames: Sequence[bytes], start: int) -> tuple[set[tuple[int, int]], str]:
    """The sizes of the frames that decode, and a sentence on those that do not.

    The first one's number is `start`.
    """
    sizes, corrupt = set(), {}
    for number, jpeg in enumerate(frames, start):
        try:
            height, width, _ = jpeg_shape(jpeg)
            if height * width > _MOST_PIXELS_PER_BYTE * len(jpeg):
                # Decoding it would fill the memory with grey.
                raise ValueError(f"{len(jpeg)} bytes for {width}x{height} pixels")
            decode_jpeg(jpeg)
        except ValueError as error:
            corrupt[number] = error
        else:
            sizes.add((width, height))
    if not corrupt:
        return sizes, ""
    numbers = ", ".join(map(str, list(corrupt)[:_MOST_NAMED]))
    more = len(corrupt) - _MOST_NAMED
    which = f"frame {numbers}" + (f" and {more} more" if more > 0 else "")
    return sizes, f"{which} cannot be decoded ({next(iter(corrupt.values()))})"


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """First number and length of each run of consecutive numbers."""
    for _, run in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        members = [number for _, number in run]
        yield members[0], len(members)
