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
        unreadable = []
        videos = _Videos(shard, result, self.min_frames)
        for number in range(count):
            try:
                (data,) = reader.read([number])
            except (RuntimeError, IndexError, ValueError):
                unreadable.append(number)
                videos.lose()
            else:
                result.findings.extend(self._check_record(data, number, videos))
        videos.end()
        for first, length in _runs(unreadable):
            rest = f", nor can the {length - 1} after it" if length > 1 else ""
            add("record", f"cannot be read{rest}: bytes were changed", first)
        if shard.checksum not in (None, checksum) and not result.is_damaged:
            add("content", "is not the file that prepare wrote, though every record can be read")
        return None

    def _check_record(self, data: bytes, number: int, videos: "_Videos") -> Iterator[Finding]:
        place = (videos.shard.split, videos.shard.path.name, number)
        try:
            record = deserialize(data, self.text_shape and self.text_shape[1])
        except DecodeError as error:
            videos.lose()
            yield Finding("record", str(error), *place)
            return
        sizes, corrupt = _decode(record.frames, record.start)
        place = (*place, record.video_id)
        if what := videos.add(number, record, sizes):
            yield Finding("record", what, *place)
        for what in self._faults(record):
            yield Finding("record", what, *place)
        if corrupt:
            yield Finding("frames", corrupt, *place)

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


class _Videos:
    """Puts the records of a shard together to videos, which go to a result when they end."""

    def __init__(self, shard: Shard, result: ShardResult, min_frames: int):
        self.shard = shard
        self._result, self._min_frames = result, min_frames
        self._video: _Video | None = None
        self._lost = False

    def lose(self) -> None:
        """A record could not be read: what is lacking from the videos around it is no surprise."""
        self._lost = True
        if self._video:
            self._video.is_whole = False

    def add(self, number: int, record: VideoRecord, sizes: set[tuple[int, int]]) -> str:
        """Takes the next record; says what is wrong with its place, if anything."""
        video = self._video
        if video is None or not video.may_have(record):
            self.end()
            video = self._video = _Video(number, record)
        what = ""
        if record.start != video.next and not self._lost:
            what = f"begins with frame {record.start} of its video, where {video.next} should be"
            video.is_whole = False
        video.is_whole &= record.start == video.next
        video.add(record, sizes)
        self._lost = False
        return what

    def end(self) -> None:
        """The video at hand has no more records."""
        if (video := self._video) is None:
            return
        self._video = None
        facts, findings = video.facts(self.shard), self._result.findings
        self._result.videos.append(facts)
        self._result.frames.append(np.frombuffer(b"".join(video.frame_digests), np.uint64))
        if video.is_whole and video.next != video.num_frames:
            what = (
                f"is of a video of {video.num_frames} frames, of which only {video.next} are here"
            )
            findings.append(facts.finding("record", what))
        if len(video.sizes) > 1:
            found = " and ".join(f"{width}x{height}" for width, height in sorted(video.sizes))
            findings.append(facts.finding("frame_size", f"has frames of {found} pixels"))
        if video.num_frames < self._min_frames:
            what = f"has {video.num_frames} frames, fewer than {self._min_frames}"
            findings.append(facts.finding("short_clip", what))


class _Video:
    """A video as far as its records have been read.

    Attributes:
      next: the frame that its next record should begin with.
      is_whole: whether all records so far are there.
    """

    def __init__(self, number: int, record: VideoRecord):
        self._number, self._id = number, record.video_id
        self.num_frames, self.next, self.is_whole = record.num_frames, 0, True
        self.frame_digests: list[bytes] = []
        self.sizes: set[tuple[int, int]] = set()
        self._digests: list[str] = []

    def may_have(self, record: VideoRecord) -> bool:
        """Whether that can be a later record of the same video."""
        same = (record.video_id, record.num_frames) == (self._id, self.num_frames)
        return same and record.start >= self.next

    def add(self, record: VideoRecord, sizes: set[tuple[int, int]]) -> None:
        self.next = record.start + len(record.frames)
        self.sizes |= sizes
        self._digests.append(record_digest(record))
        self.frame_digests += [
            hashlib.blake2b(frame, digest_size=8).digest() for frame in record.frames
        ]

    def facts(self, shard: Shard) -> VideoFacts:
        return VideoFacts(
            shard.split,
            shard.path.name,
            self._number,
            self._id,
            "".join(self._digests),
            hashlib.blake2b(b"".join(self.frame_digests), digest_size=8).digest(),
            next(iter(self.sizes)) if len(self.sizes) == 1 else None,
            len(self.frame_digests),
        )


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
