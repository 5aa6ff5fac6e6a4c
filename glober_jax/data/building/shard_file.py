"""ArrayRecord files that are complete or absent, and the metadata that make them a TFDS dataset.

A file is written under another name, renamed, and only then described in a file elsewhere, so one
that is described is complete.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

from glober_jax.data.building.output_folder import VERSION
from glober_jax.data.schema import CHECKSUMS, FINGERPRINT, VIDEO_LENGTHS

# JPEG does not compress; one record per group is what random access needs.
_WRITER_OPTIONS = "group_size:1,uncompressed"


@dataclass(frozen=True)
class SerializedVideo:
    """A video for a shard: its length, and its serialized records, each with a digest of it."""

    num_frames: int
    records: Iterable[tuple[bytes, str]]


@dataclass(frozen=True)
class ShardFacts:
    """What a shard holds.

    Attributes:
      lengths: how many frames each video has.
      num_bytes: of its serialized records.
      digests: one of each record's content.
      checksum: of the file; see `file_checksum`.
    """

    lengths: Sequence[int]
    num_bytes: int
    digests: Sequence[str]
    checksum: str


@dataclass(frozen=True)
class ShardFile:
    """A shard: where, and where it is described once it is complete."""

    path: Path
    description: Path

    @property
    def is_finished(self) -> bool:
        return self.description.exists()

    def read(self) -> ShardFacts:
        """What a finished shard holds."""
        return ShardFacts(**json.loads(self.description.read_text("utf-8")))

    def write(self, videos: Iterable[SerializedVideo]) -> None:
        """Writes the records of these videos."""
        draft = self.description.with_suffix(f".shard-{os.getpid()}")
        writer = ArrayRecordWriter(str(draft), _WRITER_OPTIONS)
        num_bytes, lengths, digests = 0, [], []
        for video in videos:
            lengths.append(video.num_frames)
            for data, digest in video.records:
                writer.write(data)
                num_bytes += len(data)
                digests.append(digest)
        writer.close()
        checksum = file_checksum(draft)
        draft.replace(self.path)
        self.finish(ShardFacts(lengths, num_bytes, digests, checksum))

    def finish(self, facts: ShardFacts) -> None:
        """Declares the shard, which is in place, complete."""
        draft = self.description.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(asdict(facts)), "utf-8")
        draft.replace(self.description)


def shard_files(staging: Path, dataset: str, split: str, count: int) -> list[ShardFile]:
    """The `count` shards of a split, under the names TFDS expects, in `data_folder`.

    Makes the folders.
    """
    descriptions = staging / "shards"
    for folder in (data_folder(staging, dataset), descriptions):
        folder.mkdir(parents=True, exist_ok=True)
    paths = shard_paths(data_folder(staging, dataset), split, count)
    return [ShardFile(path, descriptions / f"{path.name}.json") for path in paths]


def shard_paths(data: Path, split: str, count: int) -> list[Path]:
    """Where the `count` shards of a split are, in the `data_folder` of their dataset."""
    template = _file_names(data, split)
    return [
        Path(template.sharded_filepath(shard_index=number, num_shards=count))
        for number in range(count)
    ]


def data_folder(staging: Path, dataset: str) -> Path:
    """Where in `staging` the dataset's files go."""
    return staging / dataset / VERSION


def write_metadata(
    staging: Path,
    dataset: str,
    description: str,
    features: tfds.features.FeaturesDict,
    splits: Mapping[str, Sequence[ShardFile]],
    metadata: Mapping[str, object],
) -> dict[str, str]:
    """Makes finished shards a TFDS dataset.

    Returns:
      16 hex digits per split that change with any record's content or place. They are also added
      to the metadata, and so are a checksum of every shard and the length of every video.
    """
    facts = {split: [file.read() for file in files] for split, files in splits.items()}
    fingerprints = {
        split: join_digests(digest for fact in split_facts for digest in fact.digests)
        for split, split_facts in facts.items()
    }
    checksums = {
        split: [fact.checksum for fact in split_facts] for split, split_facts in facts.items()
    }
    lengths = {
        split: [length for fact in split_facts for length in fact.lengths]
        for split, split_facts in facts.items()
    }
    folder = data_folder(staging, dataset)
    infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[len(fact.digests) for fact in split_facts],
            num_bytes=sum(fact.num_bytes for fact in split_facts),
            filename_template=_file_names(folder, split),
        )
        for split, split_facts in facts.items()
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features,
        split_infos=infos,
        version=VERSION,
        filename_template=_file_names(folder, None),
        check_data=False,
        description=description,
        metadata=tfds.core.MetadataDict(
            {
                **metadata,
                FINGERPRINT: fingerprints,
                CHECKSUMS: checksums,
                VIDEO_LENGTHS: lengths,
            }
        ),
    )
    return fingerprints


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
