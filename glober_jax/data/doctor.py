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
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from etils import epath

from glober_jax.data.building.output import CARD, file_checksum
from glober_jax.data.building.splits import SPLITS
from glober_jax.data.damage import DamagedVideo
from glober_jax.data.frames import decode_jpeg
from glober_jax.data.schema import CHECKSUMS, records_of
from glober_jax.data.source import StoredVideos, open_videos
from glober_jax.data.stored_records import UnreadableDescription
from glober_jax.data.workers import run_tasks
from glober_jax.progress import Progress

# A frame that more videos have counts for no duplicate.
_MOST_VIDEOS = 16

# By the kind of a finding.
HEADINGS = {
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
DAMAGE = ("description", "shard", "record", "frames", "content", "frame_size")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
      kind: a key of `HEADINGS`.
      what: what is wrong, to stand after the place.
      split, shard: where, a shard by its file's name; "" where it concerns more than one.
      record: its number in the shard, from 0; of a video its first.
      video_id: of that record, "" where it cannot be read.
    """

    kind: str
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


class _Video(NamedTuple):
    """A video with readable frames: its place and length, and their sizes (H, W) and digests."""

    place: tuple[str, str, int, str]
    num_frames: int
    sizes: frozenset[tuple[int, int]]
    digests_F: np.ndarray

    def finding(self, kind: str, what: str) -> Finding:
        return Finding(kind, what, *self.place)


class _Shard(NamedTuple):
    directory: epath.PathLike
    split: str
    number: int
    name: str
    videos: range


def examine(directory: epath.PathLike, *, min_frames: int, workers: int = 1) -> Diagnosis:
    """Reads all of the dataset in `directory`, with that many processes, and says what is wrong.

    Videos of fewer than `min_frames` are findings. Raises UserError where there is no dataset of
    videos, or a worker died.
    """
    _open.cache_clear()
    try:
        command = json.loads((epath.Path(directory) / CARD).read_text())["command"]
    except (OSError, ValueError, KeyError, TypeError):
        command = ""
    shards = []
    try:
        for split in SPLITS:
            records = _open(directory, split).records
            for number, path in enumerate(records.shards):
                videos = records.videos_of(number)
                shards.append(_Shard(directory, split, number, path.name, videos))
    except UnreadableDescription as error:
        return Diagnosis(0, 0, command, [Finding("description", f"unreadable: {error.reason}")])
    findings: list[Finding] = []
    readable: dict[str, list[_Video]] = {split: [] for split in SPLITS}
    total = sum(len(shard.videos) for shard in shards)
    with Progress("checking", total, unit="video") as progress:
        for shard, (found, videos) in run_tasks(_check_shard, shards, workers=workers):
            progress.advance(len(shard.videos))
            findings += found
            readable[shard.split] += videos
    every = [video for split in SPLITS for video in readable[split]]
    for video in every:
        if video.num_frames < min_frames:
            what = f"has {video.num_frames} frames, fewer than {min_frames}"
            findings.append(video.finding("short_clip", what))
    findings += _frame_sizes(every)
    findings += _duplicates(readable["train"], readable["test"])
    kinds = list(HEADINGS)
    findings.sort(key=lambda f: (kinds.index(f.kind), f.split, f.shard, f.record or 0, f.what))
    frames = sum(len(video.digests_F) for video in every)
    return Diagnosis(len(every), frames, command, findings)


@functools.cache
def _open(directory: epath.PathLike, split: str) -> StoredVideos:
    return open_videos(directory, split, max_damaged=1.0)


def _check_shard(shard: _Shard) -> tuple[list[Finding], list[_Video]]:
    """The task of a worker: what is wrong with a shard, and the videos that can be read."""
    source, place = _open(shard.directory, shard.split), (shard.split, shard.name)
    records, held = source.records, f"it held {len(shard.videos)} videos"
    if shard.number in records.missing:
        return [Finding("shard", f"is missing; {held}", *place)], []
    findings: list[Finding] = []
    videos: list[_Video] = []
    first = 0
    for index in shard.videos:
        found, video = _check_video(source, index, place, first)
        findings += found
        videos += [] if video is None else [video]
        first += len(list(records_of(source[index].num_frames)))
    if findings and not videos:
        # One finding for what is cut short or overwritten as a whole.
        return [Finding("shard", f"cannot be read: {findings[0].what}; {held}", *place)], []
    checksums = records.metadata.get(CHECKSUMS, {}).get(shard.split)
    wanted = checksums[shard.number] if checksums and not findings else None
    if wanted and file_checksum(records.shards[shard.number]) != wanted:
        what = "is not the file that prepare wrote, though every record can be read"
        findings.append(Finding("content", what, *place))
    return findings, videos


def _check_video(
    source: StoredVideos, index: int, place: tuple[str, str], first: int
) -> tuple[list[Finding], _Video | None]:
    """What is wrong with a video, whose first record has the number `first` in its shard."""
    findings, sizes, digests, video_id = [], set(), [], ""
    num_frames = source[index].num_frames
    for number, (start, stop) in enumerate(records_of(num_frames), first):
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
    return findings, _Video((*place, first, video_id), num_frames, frozenset(sizes), digests_F)


def _frame_sizes(videos: Sequence[_Video]) -> Iterator[Finding]:
    """Findings of videos whose frames are not of the size that most videos have."""
    counts = Counter(video.sizes for video in videos if len(video.sizes) == 1)
    usual = max(counts, key=counts.__getitem__, default=frozenset())
    for video in videos:
        if video.sizes - usual:
            found = " and ".join(f"{width}x{height}" for height, width in sorted(video.sizes))
            yield video.finding("frame_size", f"has frames of {found} pixels, unlike most others")


def _duplicates(train: Sequence[_Video], test: Sequence[_Video]) -> Iterator[Finding]:
    """Findings of test videos that share frames with training videos."""
    different = [np.unique(video.digests_F) for video in test]
    digests = np.concatenate([np.empty(0, np.uint64), *different])
    order = np.argsort(digests)
    owners = np.repeat(np.arange(len(test)), list(map(len, different)))[order]
    digests = digests[order]
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
