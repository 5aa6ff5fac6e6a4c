"""ArrayRecord files that are complete or absent, and the metadata that make them a TFDS dataset."""

import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

from glober_jax.data.building.output_folder import VERSION
from glober_jax.data.schema import CHECKSUMS, FINGERPRINT, VIDEO_LENGTHS

# JPEG does not compress; one record per group is what random access needs.
_WRITER_OPTIONS = "group_size:1,uncompressed"


@dataclass
class ShardFacts:
    """The description of a shard.

    Attributes:
      stamp: says what it was made of.
      inputs: facts on each of its inputs, dataclasses, or what JSON makes of them.
      lengths: how many frames each video has.
      num_bytes: of its serialized records.
      digests: one of each record's content.
      checksum: of the file; see `file_checksum`.
    """

    stamp: str
    inputs: Sequence[Any]
    lengths: list[int] = field(default_factory=list)
    num_bytes: int = 0
    digests: list[str] = field(default_factory=list)
    checksum: str = ""


@dataclass(frozen=True)
class ShardWriter:
    """Appends videos to a shard, and counts them in `facts`."""

    writer: ArrayRecordWriter
    facts: ShardFacts

    def add(self, num_frames: int, records: Iterable[tuple[bytes, str]]) -> None:
        """Adds a video: its serialized records, each with a digest of its content."""
        self.facts.lengths.append(num_frames)
        for data, digest in records:
            self.writer.write(data)
            self.facts.num_bytes += len(data)
            self.facts.digests.append(digest)


@dataclass(frozen=True)
class ShardFile:
    """A shard, and the file that describes it once it is complete."""

    path: Path
    description: Path

    def is_finished(self, stamp: str = "") -> bool:
        """Whether it is complete, and made of what has that stamp."""
        return self.description.exists() and self.read().stamp == stamp

    def read(self) -> ShardFacts:
        """The description of a finished shard."""
        return ShardFacts(**json.loads(self.description.read_text("utf-8")))

    @contextmanager
    def writing(self, stamp: str = "", inputs: Sequence[Any] = ()) -> Iterator[ShardWriter]:
        """Takes videos until the way out, where the shard is moved to its place and described."""
        draft = self._draft()
        facts, writer = ShardFacts(stamp, inputs), ArrayRecordWriter(str(draft), _WRITER_OPTIONS)
        yield ShardWriter(writer, facts)
        writer.close()
        facts.checksum = file_checksum(draft)
        self.description.unlink(missing_ok=True)
        draft.replace(self.path)
        self.describe(facts)

    def describe(self, facts: ShardFacts) -> None:
        """Declares the shard, which is in place, complete."""
        draft = self._draft()
        draft.write_text(json.dumps(asdict(facts)), "utf-8")
        draft.replace(self.description)

    def _draft(self) -> Path:
        # Two machines may write the same shard, where one was taken for dead.
        return self.description.with_name(f"draft-{uuid.uuid4().hex}")


def shard_files(staging: Path, dataset: str, split: str, count: int) -> list[ShardFile]:
    """The `count` shards of a split of a dataset in `staging`; makes their folders."""
    data, descriptions = staging / dataset / VERSION, staging / "shards"
    for folder in (data, descriptions):
        folder.mkdir(parents=True, exist_ok=True)
    paths = shard_paths(data, split, count)
    return [ShardFile(path, descriptions / f"{path.name}.json") for path in paths]


def shard_paths(data: Path, split: str, count: int) -> list[Path]:
    """The `count` shards of a split in the version folder of their dataset."""
    return [Path(path) for path in _file_names(data, split).sharded_filepaths(count)]


def write_metadata(
    staging: Path,
    dataset: str,
    description: str,
    features: tfds.features.FeaturesDict,
    splits: Mapping[str, Sequence[ShardFile]],
    metadata: Mapping[str, object],
) -> dict[str, list[ShardFacts]]:
    """Makes finished shards a TFDS dataset; deletes what an earlier attempt left beside them.

    Fingerprints, checksums of shards and lengths of videos are added to the metadata.

    Returns:
      The descriptions of the shards of each split.
    """
    data = staging / dataset / VERSION
    for path in set(data.iterdir()) - {file.path for some in splits.values() for file in some}:
        path.unlink()
    shards = {split: [file.read() for file in some] for split, some in splits.items()}
    infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[len(facts.digests) for facts in some],
            num_bytes=sum(facts.num_bytes for facts in some),
            filename_template=_file_names(data, split),
        )
        for split, some in shards.items()
    ]
    every = {
        FINGERPRINT: {split: fingerprint(some) for split, some in shards.items()},
        CHECKSUMS: {split: [facts.checksum for facts in some] for split, some in shards.items()},
        VIDEO_LENGTHS: {
            split: [length for facts in some for length in facts.lengths]
            for split, some in shards.items()
        },
    }
    tfds.folder_dataset.write_metadata(
        data_dir=data,
        features=features,
        split_infos=infos,
        version=VERSION,
        filename_template=_file_names(data, None),
        check_data=False,
        description=description,
        metadata=tfds.core.MetadataDict({**metadata, **every}),
    )
    return shards


def fingerprint(shards: Iterable[ShardFacts]) -> str:
    """16 hex digits that change with the content or place of any record of a split."""
    return join_digests(digest for shard in shards for digest in shard.digests)


def join_digests(digests: Iterable[str]) -> str:
    """16 hex digits of these digests, in order."""
    joined = hashlib.sha256()
    for digest in digests:
        joined.update(digest.encode())
    return joined.hexdigest()[:16]


def file_checksum(path: Path) -> str:
    """16 hex digits that change with any byte of a file: its SHA-256, cut short."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _file_names(data: Path, split: str | None) -> tfds.core.ShardedFileTemplate:
    return tfds.core.ShardedFileTemplate(
        data_dir=data,
        dataset_name=data.parent.name,
        split=split,
        filetype_suffix="array_record",
    )
