"""Cuts records into shards and writes them from spooled frames.

Shards hold consecutive records of one split, cut by their bytes alone: the same inputs give the
same shards, however many processes write them.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glober_jax.data.building.extract import Unit
from glober_jax.data.building.shard_file import ShardFile, shard_files
from glober_jax.data.building.workers import OnCount
from glober_jax.data.schema import VideoRecord, record_digest, serialize

SHARD_BYTES = 128 * 2**20


@dataclass(frozen=True)
class PlannedRecord:
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
    records: Sequence[PlannedRecord]

    @property
    def num_bytes(self) -> int:
        return sum(record.num_bytes for record in self.records)

    @property
    def spool_files(self) -> set[Path]:
        return {record.unit.jpegs for record in self.records}


@dataclass(frozen=True)
class WriteShard:
    """The task of a worker: write one shard, with its captions' embeddings or without."""

    with_text: bool

    def __call__(self, shard: Shard, on_count: OnCount) -> None:
        shard.file.write(self._serialized(shard.records, on_count))

    def _serialized(
        self, planned: Sequence[PlannedRecord], on_count: OnCount
    ) -> Iterator[tuple[bytes, str]]:
        records = _records(planned, self.with_text)
        for plan, record in zip(planned, records, strict=True):
            yield serialize(record), record_digest(record)
            on_count(plan.num_bytes)


def cut_shards(
    staging: Path, dataset: str, split: str, records: Sequence[PlannedRecord]
) -> list[Shard]:
    """Cuts a split's records into shards of about `SHARD_BYTES`."""
    parts: list[list[PlannedRecord]] = []
    room = 0
    for record in records:
        if room < record.num_bytes or not parts:
            parts.append([])
            room = SHARD_BYTES
        parts[-1].append(record)
        room -= record.num_bytes
    files = shard_files(staging, dataset, split, len(parts))
    return [Shard(file, part) for file, part in zip(files, parts, strict=True)]


def _records(planned: Sequence[PlannedRecord], with_text: bool) -> Iterator[VideoRecord]:
    unit, results, texts = None, (), None
    for plan in planned:
        if plan.unit != unit:
            unit, results = plan.unit, plan.unit.read()
            texts = np.load(unit.texts, mmap_mode="r") if with_text else None
        result = results[plan.item]
        bounds = result.bounds(plan.start, plan.stop)
        with unit.jpegs.open("rb") as spool:
            spool.seek(bounds[0])
            frames = [spool.read(end - begin) for begin, end in itertools.pairwise(bounds)]
        yield VideoRecord(
            plan.video_id,
            plan.label,
            result.fps,
            frames,
            unit.items[plan.item].caption,
            None if texts is None else np.array(texts[plan.item]),
        )
