"""Cuts splits into shards and writes them from spooled frames.

Shards hold consecutive videos of one split, whole ones, cut by their bytes alone: the same inputs
give the same shards, however many processes write them.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glober_jax.data.building.extract import Extracted, Unit
from glober_jax.data.building.shard_file import SerializedVideo, ShardFile, shard_files
from glober_jax.data.building.workers import OnCount
from glober_jax.data.schema import VideoRecord, record_digest, records_of, serialize

SHARD_BYTES = 128 * 2**20


@dataclass(frozen=True)
class PlannedVideo:
    """Frames `start` to `stop` (excluded) of item number `item` of a unit; bytes are a guess."""

    unit: Unit
    item: int
    start: int
    stop: int
    video_id: str
    label: int
    num_bytes: int


@dataclass(frozen=True)
class Shard:
    """A shard to write, and of what."""

    file: ShardFile
    videos: Sequence[PlannedVideo]

    @property
    def num_bytes(self) -> int:
        return sum(video.num_bytes for video in self.videos)

    @property
    def spool_files(self) -> set[Path]:
        return {video.unit.jpegs for video in self.videos}


@dataclass(frozen=True)
class WriteShard:
    """The task of a worker: write one shard, with its captions' embeddings or without."""

    with_text: bool

    def __call__(self, shard: Shard, on_count: OnCount) -> None:
        shard.file.write(self._serialized(shard.videos, on_count))

    def _serialized(
        self, videos: Sequence[PlannedVideo], on_count: OnCount
    ) -> Iterator[SerializedVideo]:
        unit, results, texts = None, (), None
        for video in videos:
            if video.unit != unit:
                unit, results = video.unit, video.unit.read()
                texts = np.load(unit.texts, mmap_mode="r") if self.with_text else None
            text_LE = None if texts is None else np.array(texts[video.item])
            records = _records(video, results[video.item], text_LE)
            yield SerializedVideo(
                video.stop - video.start,
                ((serialize(record), record_digest(record)) for record in records),
            )
            on_count(video.num_bytes)


def cut_shards(
    staging: Path, dataset: str, split: str, videos: Sequence[PlannedVideo]
) -> list[Shard]:
    """Cuts a split's videos into shards of about `SHARD_BYTES`, or of one video that is larger."""
    parts: list[list[PlannedVideo]] = []
    room = 0
    for video in videos:
        if room < video.num_bytes or not parts:
            parts.append([])
            room = SHARD_BYTES
        parts[-1].append(video)
        room -= video.num_bytes
    files = shard_files(staging, dataset, split, len(parts))
    return [Shard(file, part) for file, part in zip(files, parts, strict=True)]


def _records(
    video: PlannedVideo, extracted: Extracted, text_LE: np.ndarray | None
) -> Iterator[VideoRecord]:
    num_frames = video.stop - video.start
    caption = video.unit.items[video.item].caption
    with video.unit.jpegs.open("rb") as spool:
        for start, stop in records_of(num_frames):
            bounds = extracted.bounds(video.start + start, video.start + stop)
            spool.seek(bounds[0])
            yield VideoRecord(
                video.video_id,
                video.label,
                extracted.fps,
                num_frames,
                start,
                [spool.read(end - begin) for begin, end in itertools.pairwise(bounds)],
                "" if start else caption,
                text_LE[:0] if start and text_LE is not None else text_LE,
            )
