"""Reads one shard to the last record and frame.

Shards are read each on its own and by position, below TFDS, so that what is broken hides nothing
else. A record's checksum inside the file tells when the disk changed it; the file's own checksum
tells of changes between records, which no reader notices, and of records that were replaced.
"""

import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader
from google.protobuf.message import DecodeError

from glober_jax.data.building.shard_file import file_checksum
from glober_jax.data.building.workers import OnCount
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
    def num_bytes(self) -> int:
        """0 where there is no such file."""
        return self.path.stat().st_size if self.path.is_file() else 0


@dataclass(frozen=True, slots=True)
class RecordFacts:
    """What is kept of a record that could be read.

    Attributes:
      split, shard, record, video_id: as in `Finding`.
      digest: of its content, as `record_digest` has it.
      frames_digest: of its frames alone.
      size: width and height of its frames; None where they differ or none decodes.
      num_frames: how many it has.
    """

    split: str
    shard: str
    record: int
    video_id: str
    digest: str
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
      records: the records that could be read, in order.
      frames: 64-bit digests of the frames of each.
    """

    findings: list[Finding] = field(default_factory=list)
    records: list[RecordFacts] = field(default_factory=list)
    frames: list[np.ndarray] = field(default_factory=list)

    @property
    def is_damaged(self) -> bool:
        return any(finding.kind in DAMAGE for finding in self.findings)


@dataclass(frozen=True)
class CheckShard:
    """The task of a worker: check one shard.

    Attributes:
      text_shape: of every record's embedded caption, None where there is none.
      num_labels: labels there may be, None where unknown.
      min_frames: shorter records are findings.
    """

    text_shape: tuple[int, int] | None
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
        unreadable = []
        for number in range(count):
            try:
                (data,) = reader.read([number])
            except (RuntimeError, IndexError, ValueError):
                unreadable.append(number)
            else:
                result.findings.extend(self._check_record(data, shard, number, result))
        for first, length in _runs(unreadable):
            rest = f", nor can the {length - 1} after it" if length > 1 else ""
            add("record", f"cannot be read{rest}: bytes were changed", first)
        if shard.checksum not in (None, checksum) and not result.is_damaged:
            add("content", "is not the file that prepare wrote, though every record can be read")
        return None

    def _check_record(
        self, data: bytes, shard: Shard, number: int, result: ShardResult
    ) -> Iterator[Finding]:
        try:
            record = deserialize(data, self.text_shape)
        except DecodeError as error:
            yield Finding("record", str(error), shard.split, shard.path.name, number)
            return
        sizes, corrupt = _decode(record.frames)
        digests = [hashlib.blake2b(frame, digest_size=8).digest() for frame in record.frames]
        joined = b"".join(digests)
        facts = RecordFacts(
            shard.split,
            shard.path.name,
            number,
            record.video_id,
            record_digest(record),
            hashlib.blake2b(joined, digest_size=8).digest(),
            next(iter(sizes)) if len(sizes) == 1 else None,
            len(record.frames),
        )
        result.records.append(facts)
        result.frames.append(np.frombuffer(joined, np.uint64))
        for what in self._faults(record):
            yield facts.finding("record", what)
        if corrupt:
            yield facts.finding("frames", corrupt)
        if len(sizes) > 1:
            found = " and ".join(f"{width}x{height}" for width, height in sorted(sizes))
            yield facts.finding("frame_size", f"has frames of {found} pixels")
        if len(record.frames) < self.min_frames:
            what = f"has {len(record.frames)} frames, fewer than {self.min_frames}"
            yield facts.finding("short_clip", what)

    def _faults(self, record: VideoRecord) -> Iterator[str]:
        # Without classes all have label 0.
        if self.num_labels is not None and not 0 <= record.label < max(self.num_labels, 1):
            yield f"has label {record.label}, but there are {self.num_labels} classes"
        if not (math.isfinite(record.fps) and record.fps >= 0):
            yield f"has {record.fps} frames per second"
        if not record.frames:
            yield "has no frames"
        if record.text_LE is not None and not np.isfinite(record.text_LE).all():
            yield "has an embedded caption with numbers that are not finite"
        if record.text_LE is not None and not record.caption:
            yield "has an embedded caption, but the caption is empty"


def _decode(frames: Sequence[bytes]) -> tuple[set[tuple[int, int]], str]:
    """The sizes of the frames that decode, and a sentence on those that do not."""
    sizes, corrupt = set(), {}
    for number, jpeg in enumerate(frames):
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
