"""Writes the shards of a dataset from spooled frames, and the metadata that make them one for TFDS.

A shard is written under another name, renamed, and only then described in a file beside it, so one
that is described is complete. Shards hold consecutive records of one split, cut by their bytes
alone: the same inputs give the same shards, however many processes write them.
"""

import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

from glober_jax.data.building.extract import Unit
from glober_jax.data.building.workers import OnCount
from glober_jax.data.schema import FINGERPRINT, VideoRecord, record_features, serialize

SHARD_BYTES = 128 * 2**20
VERSION = "1.0.0"
# JPEG does not compress; one record per group is what random access needs.
_WRITER_OPTIONS = "group_size:1,uncompressed"


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
class ShardFacts:
    """What a shard holds: its serialized records' bytes, and a digest of each record's content."""

    num_bytes: int
    digests: Sequence[str]


@dataclass(frozen=True)
class Shard:
    """A shard to write: where, where it is described once it is complete, and of what."""

    path: Path
    description: Path
    records: Sequence[PlannedRecord]

    @property
    def num_bytes(self) -> int:
        return sum(record.num_bytes for record in self.records)

    @property
    def spool_files(self) -> set[Path]:
        return {record.unit.jpegs for record in self.records}

    @property
    def is_finished(self) -> bool:
        return self.description.exists()

    def read(self) -> ShardFacts:
        return ShardFacts(**json.loads(self.description.read_text("utf-8")))

    def finish(self, facts: ShardFacts) -> None:
        """Declares the shard, which is in place, complete."""
        draft = self.description.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(asdict(facts)), "utf-8")
        draft.replace(self.description)


@dataclass(frozen=True)
class WriteShard:
    """The task of a worker: write one shard. `text_shape` is that of every caption's embedding."""

    text_shape: tuple[int, int] | None

    def __call__(self, shard: Shard, on_count: OnCount) -> None:
        draft = shard.description.with_suffix(f".shard-{os.getpid()}")
        writer = ArrayRecordWriter(str(draft), _WRITER_OPTIONS)
        num_bytes, digests = 0, []
        records = _records(shard.records, self.text_shape is not None)
        for plan, record in zip(shard.records, records, strict=True):
            data = serialize(record)
            writer.write(data)
            num_bytes += len(data)
            digests.append(_digest(record))
            on_count(plan.num_bytes)
        writer.close()
        draft.replace(shard.path)
        shard.finish(ShardFacts(num_bytes, digests))


def cut_shards(
    folder: Path,
    descriptions: Path,
    dataset: str,
    split: str,
    records: Sequence[PlannedRecord],
) -> list[Shard]:
    """Cuts a split's records into shards of about `SHARD_BYTES`.

    `folder` gets the shards, under the names TFDS expects, `descriptions` what says that they are
    complete.
    """
    parts: list[list[PlannedRecord]] = []
    room = 0
    for record in records:
        if room < record.num_bytes or not parts:
            parts.append([])
            room = SHARD_BYTES
        parts[-1].append(record)
        room -= record.num_bytes
    template = _file_names(folder, dataset, split)
    paths = [
        Path(template.sharded_filepath(shard_index=number, num_shards=len(parts)))
        for number in range(len(parts))
    ]
    return [
        Shard(path, descriptions / f"{path.name}.json", part)
        for path, part in zip(paths, parts, strict=True)
    ]


def write_metadata(
    folder: Path,
    dataset: str,
    description: str,
    splits: dict[str, Sequence[Shard]],
    text_shape: tuple[int, int] | None,
    metadata: dict[str, object],
) -> dict[str, str]:
    """Makes the shards in `folder` a TFDS dataset.

    Returns:
      16 hex digits per split that change with any record's content or place.
    """
    facts = {split: [shard.read() for shard in shards] for split, shards in splits.items()}
    fingerprints = {
        split: join_digests(digest for fact in split_facts for digest in fact.digests)
        for split, split_facts in facts.items()
    }
    infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[len(fact.digests) for fact in split_facts],
            num_bytes=sum(fact.num_bytes for fact in split_facts),
            filename_template=_file_names(folder, dataset, split),
        )
        for split, split_facts in facts.items()
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=record_features(text_shape),
        split_infos=infos,
        version=VERSION,
        filename_template=_file_names(folder, dataset, None),
        check_data=False,
        description=description,
        metadata=tfds.core.MetadataDict(metadata | {FINGERPRINT: fingerprints}),
    )
    return fingerprints


def _file_names(folder: Path, dataset: str, split: str | None) -> tfds.core.ShardedFileTemplate:
    return tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=dataset, split=split, filetype_suffix="array_record"
    )


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


def _digest(record: VideoRecord) -> str:
    """Of all that a reader can see of a record."""
    facts = (record.video_id, record.label, record.fps, record.caption)
    parts = [repr(facts).encode(), *record.frames]
    if record.text_LE is not None:
        parts.append(record.text_LE.tobytes())
    return join_digests(hashlib.sha256(part).hexdigest() for part in parts)


def join_digests(digests: Iterable[str]) -> str:
    """16 hex digits of these digests, in order."""
    joined = hashlib.sha256()
    for digest in digests:
        joined.update(digest.encode())
    return joined.hexdigest()[:16]
