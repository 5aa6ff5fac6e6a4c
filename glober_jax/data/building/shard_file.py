"""ArrayRecord files that are complete or absent, and the metadata that make them a TFDS dataset."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from etils import epath

from glober_jax.data.building.output_folder import VERSION
from glober_jax.data.files import whole_file
from glober_jax.data.schema import CHECKSUMS, FINGERPRINT, VIDEO_LENGTHS

# JPEG does not compress; one record per group is what random access needs.
_WRITER_OPTIONS = "group_size:1,uncompressed"
_READERS = 32


# Appends a video to a shard: its number of frames and its serialized records, each with a digest of
# its content.
AddVideo = Callable[[int, Iterable[tuple[bytes, str]]], None]


@dataclass
class ShardFacts:
    """The description of a shard, as it is stored beside it.

    `stamp` changes with anything that it was made of; `inputs` has facts on each input, `lengths`
    the frames of each video, `num_bytes` and `digests` are of the serialized records.
    """

    stamp: str
    inputs: Sequence[Any]
    lengths: list[int] = field(default_factory=list)
    num_bytes: int = 0
    digests: list[str] = field(default_factory=list)
    checksum: str = ""


@dataclass(frozen=True)
class ShardFile:
    """A shard, and the JSON file that describes it once it is complete."""

    path: epath.Path
    description: epath.Path

    def read(self, stamp: str) -> ShardFacts | None:
        """The description, if the shard is complete and has that stamp."""
        try:
            facts = ShardFacts(**json.loads(self.description.read_text()))
        except FileNotFoundError:
            return None
        return facts if facts.stamp == stamp else None

    @contextmanager
    def writing(self, stamp: str, inputs: Sequence[Any] = ()) -> Iterator[AddVideo]:
        """Yields what appends a video; then moves the shard to its place and describes it."""
        facts = ShardFacts(stamp, inputs)
        with whole_file(self.path) as draft:
            writer = ArrayRecordWriter(str(draft), _WRITER_OPTIONS)

            def add(num_frames: int, records: Iterable[tuple[bytes, str]]) -> None:
                facts.lengths.append(num_frames)
                for data, digest in records:
                    writer.write(data)
                    facts.num_bytes += len(data)
                    facts.digests.append(digest)

            yield add
            writer.close()
            facts.checksum = file_checksum(epath.Path(draft))
            self.description.unlink(missing_ok=True)
        with whole_file(self.description) as draft:
            draft.write_text(json.dumps(asdict(facts)), "utf-8")


def read_shards(shards: Iterable[tuple[ShardFile, str]]) -> list[ShardFacts | None]:
    """`ShardFile.read` of shards with their stamps, many at a time, for buckets answer slowly."""
    with ThreadPoolExecutor(_READERS) as readers:
        return list(readers.map(lambda shard: shard[0].read(shard[1]), shards))


def shard_files(staging: epath.Path, dataset: str, split: str, count: int) -> list[ShardFile]:
    """The `count` shards of a split of a dataset in `staging`; makes their folders."""
    data, descriptions = staging / dataset / VERSION, staging / "shards"
    for folder in (data, descriptions):
        folder.mkdir(parents=True, exist_ok=True)
    paths = map(epath.Path, _file_names(data, split).sharded_filepaths(count))
    return [ShardFile(path, descriptions / f"{path.name}.json") for path in paths]


def write_metadata(
    staging: epath.Path,
    dataset: str,
    features: tfds.features.FeaturesDict,
    shards: Mapping[str, Sequence[ShardFacts]],
    metadata: Mapping[str, object],
) -> None:
    """Makes the finished `shards` of each split a TFDS dataset, and deletes what else is there.

    Fingerprints, checksums of shards and lengths of videos are added to the metadata.
    """
    data = staging / dataset / VERSION
    infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[len(facts.digests) for facts in some],
            num_bytes=sum(facts.num_bytes for facts in some),
            filename_template=_file_names(data, split),
        )
        for split, some in shards.items()
    ]
    wanted = {name for info in infos for name in info.filenames}
    for path in data.iterdir():
        if path.name not in wanted:
            path.unlink()
    every: dict[str, dict] = {FINGERPRINT: {}, CHECKSUMS: {}, VIDEO_LENGTHS: {}}
    for split, some in shards.items():
        every[FINGERPRINT][split] = fingerprint(some)
        every[CHECKSUMS][split] = [facts.checksum for facts in some]
        every[VIDEO_LENGTHS][split] = [length for facts in some for length in facts.lengths]
    tfds.folder_dataset.write_metadata(
        data_dir=data,
        features=features,
        split_infos=infos,
        version=VERSION,
        filename_template=_file_names(data, None),
        check_data=False,
        description=f"{dataset}, of python -m glober_jax.prepare.",
        metadata=tfds.core.MetadataDict({**metadata, **every}),
    )


def fingerprint(shards: Iterable[ShardFacts]) -> str:
    """16 hex digits that change with the content or place of any record of a split."""
    return join_digests(digest for shard in shards for digest in shard.digests)


def join_digests(digests: Iterable[str]) -> str:
    """16 hex digits of these digests, in order."""
    joined = hashlib.sha256()
    for digest in digests:
        joined.update(digest.encode())
    return joined.hexdigest()[:16]


def file_checksum(path: epath.Path) -> str:
    """16 hex digits that change with any byte of a file: its SHA-256, cut short."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _file_names(data: epath.Path, split: str | None) -> tfds.core.ShardedFileTemplate:
    return tfds.core.ShardedFileTemplate(
        data_dir=data,
        dataset_name=data.parent.name,
        split=split,
        filetype_suffix="array_record",
    )
