"""Checks a prepared dataset: reads every record and decodes every frame, shard by shard.

Two videos of different splits are duplicates if they share, byte for byte, at least two frames and
half of those of the shorter one. Frames that many videos have, as title cards, do not count.

Memory: some 10 bytes per frame, and in each process one record.
"""

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from etils import epath

from glober_jax.data.building.output_folder import CARD
from glober_jax.data.building.pool import run_tasks
from glober_jax.data.building.shard_file import file_checksum
from glober_jax.data.damage import DamagedVideo
from glober_jax.data.frames import decode_jpeg
from glober_jax.data.schema import CHECKSUMS, records_of
from glober_jax.data.source import StoredVideos, open_videos
from glober_jax.data.stored_records import UnreadableDescription
from glober_jax.errors import UserError
from glober_jax.progress import Progress

SPLITS = ("train", "test")
# A frame that more videos have counts for no duplicate.
_MOST_VIDEOS = 16

Kind = Literal[
    "description", "shard", "record", "frames", "content", "frame_size", "short_clip", "duplicate"
]
HEADINGS: dict[Kind, str] = {
    "description": "damaged descriptions of the data set",
    "shard": "damaged shards",
    "record": "damaged records",
    "frames": "corrupt frames",
    "content": "changed since it was prepared",
    "frame_size": "frames of another size",
    "short_clip": "short clips",
    "duplicate": "duplicate clips across splits",
}
# Of these training would notice; the others are about which videos the data set was made of.
DAMAGE: tuple[Kind, ...] = ("description", "shard", "record", "frames", "content", "frame_size")


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """Flags: `input`, an earlier --output, and `min_frames`; shorter videos are findings."""

    input: str
    min_frames: int = 16

    def __post_init__(self) -> None:
        if self.min_frames < 1:
            raise UserError(f"--min_frames must be at least 1, not {self.min_frames}")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
      kind: its class, see `HEADINGS`.
      what: what is wrong, to stand after the place.
      split, shard: where; "" where it concerns more than one. A shard goes by its file's name.
      record: its number in the shard, from 0; of a video its first.
      video_id: of that record, "" where it cannot be read.
    """

    kind: Kind
    what: str
    split: str = ""
    shard: str = ""
    record: int | None = None
    video_id: str = ""

    def __str__(self) -> str:
        number = "" if self.record is None else f"record {self.record}"
        place = [part for part in (self.shard or self.split, number, self.video_id) if part]
        return f"{', '.join(place)}: {self.what}" if place else self.what


@dataclass(frozen=True)
class Diagnosis:
    """Numbers of videos and frames that could be read, the command that made them, or "", and
    findings sorted by kind and place.
    """

    videos: int
    frames: int
    command: str
    findings: Sequence[Finding]

    def to_dict(self) -> dict[str, Any]:
        return {"healthy": not self.findings, **asdict(self)}


class _Video(NamedTuple):
    """A video of which something could be read: its place, frame sizes (H, W) and digests."""

    place: tuple[str, str, int, str]
    sizes: frozenset[tuple[int, int]]
    digests_F: np.ndarray

    def finding(self, kind: Kind, what: str) -> Finding:
        return Finding(kind, what, *self.place)


class _Shard(NamedTuple):
    directory: epath.PathLike
    split: str
    number: int
    name: str

    def open(self) -> StoredVideos:
        return _open(self.directory, self.split)

    def videos(self) -> range:
        return self.open().records.videos_of(self.number)


def examine(directory: epath.PathLike, *, min_frames: int, workers: int = 1) -> Diagnosis:
    """Reads all of the dataset in `directory` and says what is wrong with it.

    Args:
      directory, min_frames: see `DoctorOptions`.
      workers: processes to read with.

    Raises:
      UserError: there is no dataset of videos there, or a worker died.
    """
    _open.cache_clear()
    try:
        command = json.loads((epath.Path(directory) / CARD).read_text())["command"]
    except (OSError, ValueError, KeyError, TypeError):
        command = ""
    try:
        shards = [
            _Shard(directory, split, number, path.name)
            for split in SPLITS
            for number, path in enumerate(_open(directory, split).records.shards)
        ]
    except UnreadableDescription as error:
        return Diagnosis(0, 0, command, [Finding("description", f"unreadable: {error.reason}")])
    findings: list[Finding] = []
    videos: dict[str, list[_Video]] = {split: [] for split in SPLITS}
    check = functools.partial(_check_shard, min_frames)
    total = sum(len(shard.videos()) for shard in shards)
    with Progress("checking", total, unit="video") as progress:
        for shard, (found, read) in run_tasks(check, shards, workers=workers):
            progress.advance(len(shard.videos()))
            findings += found
            videos[shard.split] += read
    every = [video for split in SPLITS for video in videos[split]]
    findings += _frame_sizes(every)
    findings += _duplicates(videos["train"], videos["test"])
    kinds = list(HEADINGS)
    findings.sort(key=lambda f: (kinds.index(f.kind), f.split, f.shard, f.record or 0, f.what))
    frames = sum(len(video.digests_F) for video in every)
    return Diagnosis(len(every), frames, command, findings)


@functools.cache
def _open(directory: epath.PathLike, split: str) -> StoredVideos:
    return open_videos(directory, split, max_damaged=1.0)


def _check_shard(min_frames: int, shard: _Shard) -> tuple[list[Finding], list[_Video]]:
    """The task of a worker: what is wrong with a shard, and the videos that can be read."""
    source, indices, place = shard.open(), shard.videos(), (shard.split, shard.name)
    records = source.records
    if shard.number in records.missing:
        what = f"is missing; it held {len(indices)} videos"
        return [Finding("shard", what, *place)], []
    findings: list[Finding] = []
    videos: list[_Video] = []
    first = 0
    for index in indices:
        found, video = _check_video(source, index, place, first)
        findings += found
        length = source[index].num_frames
        if video is not None:
            videos.append(video)
            if length < min_frames:
                what = f"has {length} frames, fewer than {min_frames}"
                findings.append(video.finding("short_clip", what))
        first += len(list(records_of(length)))
    if findings and not videos:
        # One finding for what is cut short or overwritten as a whole.
        what = f"cannot be read: {findings[0].what}; it held {len(indices)} videos"
        return [Finding("shard", what, *place)], []
    checksums = records.metadata.get(CHECKSUMS, {}).get(shard.split)
    damaged = any(finding.kind in DAMAGE for finding in findings)
    if damaged or not checksums:
        return findings, videos
    if file_checksum(records.shards[shard.number]) != checksums[shard.number]:
        what = "is not the file that prepare wrote, though every record can be read"
        findings.append(Finding("content", what, *place))
    return findings, videos


def _check_video(
    source: StoredVideos, index: int, place: tuple[str, str], first: int
) -> tuple[list[Finding], _Video | None]:
    """What is wrong with a video, whose first record has the number `first` in its shard."""
    findings, sizes, digests, video_id = [], set(), [], ""
    for number, (start, stop) in enumerate(records_of(source[index].num_frames), first):
        # Anew, so that no more than one record is in memory.
        video = source[index]
        try:
            jpegs = video.stored_frames(range(start, stop))
        except DamagedVideo as error:
            findings.append(Finding("record", error.reason, *place, number))
            continue
        video_id = video.video_id
        for frame_id, jpeg in enumerate(jpegs, start):
            try:
                sizes.add(decode_jpeg(jpeg).shape[:2])
            except ValueError as error:
                what = f"frame {frame_id} cannot be decoded ({error})"
                findings.append(Finding("frames", what, *place, number, video_id))
            digests.append(hashlib.blake2b(jpeg, digest_size=8).digest())
    if not digests:
        return findings, None
    digests_F = np.frombuffer(b"".join(digests), np.uint64)
    return findings, _Video((*place, first, video_id), frozenset(sizes), digests_F)


def _frame_sizes(videos: Sequence[_Video]) -> Iterator[Finding]:
    """Findings of videos whose frames are not of the size that most videos have."""
    counts = Counter(video.sizes for video in videos if len(video.sizes) == 1)
    usual = max(counts, key=counts.__getitem__, default=frozenset())
    for video in videos:
        if video.sizes - usual:
            found = " and ".join(f"{width}x{height}" for height, width in sorted(video.sizes))
            yield video.finding("frame_size", f"has frames of {found} pixels, unlike most others")


def _duplicates(train: Sequence[_Video], test: Sequence[_Video]) -> Iterator[Finding]:
    different = [np.unique(video.digests_F) for video in test]
    digests = np.concatenate([np.empty(0, np.uint64), *different])
    order = np.argsort(digests)
    digests, owners = digests[order], np.repeat(np.arange(len(test)), list(map(len, different)))
    owners = owners[order]
    for video in train:
        frames = np.unique(video.digests_F)
        begins, ends = (np.searchsorted(digests, frames, side) for side in ("left", "right"))
        hits = [
            owners[begin:end]
            for begin, end in zip(begins, ends, strict=True)
            if 0 < end - begin <= _MOST_VIDEOS
        ]
        for other, shared in Counter(np.concatenate(hits).tolist() if hits else ()).items():
            if shared >= max(2, min(len(different[other]), len(frames)) / 2):
                copy, (_, shard, record, video_id) = test[other], video.place
                what = f"shares {shared} of its {len(copy.digests_F)} frames with {video_id}"
                yield copy.finding("duplicate", f"{what} (record {record} of {shard})")
