"""The folder a dataset is prepared into, and its shards: finished or absent, never half written.

Everything is written to a hidden folder, named after the arguments so that the same command finds
it again, and moved when complete. `data_card.json` and `data_card.md` hold arguments and result.
"""

import errno
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from etils import epath

from glober_jax.alone import alone_in
from glober_jax.data.files import DRAFT, whole_file
from glober_jax.data.schema import CHECKSUMS, FINGERPRINT, VIDEO_LENGTHS
from glober_jax.errors import Unfinished, UserError

CARD = "data_card.json"
# The findings of `prepare doctor`.
REPORT = "doctor.json"
# Of the format. The first had whole videos as records.
VERSION = "2.0.0"
_MARKDOWN_CARD = "data_card.md"
_STAGING_PREFIX = ".prepare-"
# JPEG does not compress; one record per group is what random access needs.
_WRITER_OPTIONS = "group_size:1,uncompressed"
_READERS = 32


def dataset_folders(output: epath.Path) -> list[epath.Path]:
    """The version folders of the complete TFDS datasets directly inside `output`, sorted."""
    found = (info.parent for info in output.glob("*/*/dataset_info.json"))
    return sorted(path for path in found if not path.parent.name.startswith("."))


@dataclass(frozen=True)
class OutputFolder:
    """Where a dataset goes; `arguments` are all that shape it, `command` makes it."""

    path: epath.Path
    dataset: str
    arguments: Mapping[str, object]
    command: str

    def is_finished(self, *, overwrite: bool) -> bool:
        """Whether the dataset is here and not to be overwritten; UserError where another one is."""
        stored = self._stored()
        if foreign := stored - {self.dataset, self._made().get("dataset")}:
            raise UserError(
                f"{self.path} already holds the dataset {', '.join(sorted(foreign))}, which this "
                "command did not write: choose another --output"
            )
        place = self.path / self.dataset
        if self.dataset not in stored and place.exists():
            raise UserError(f"{place} is in the way and is no dataset: choose another --output")
        if overwrite or not stored:
            return False
        if differences := self._differences():
            raise UserError(
                f"{self.path} already holds another dataset ({differences}): choose another "
                "--output, or pass --overwrite to replace it"
            )
        if not (place / VERSION).exists():
            raise UserError(
                f"{self.path} was prepared by an earlier version of this command, whose files are "
                "not read any more: pass --overwrite to prepare it again"
            )
        return True

    @contextmanager
    def staging(self, *, shared: bool = False) -> Iterator[epath.Path]:
        """A hidden folder to write into, with what an interrupted run of the same has left there.

        Deleted at the end, unless the same command could continue from it, or it is `shared` with
        processes that make the same. UserError: not writable, or another command writes to it.
        """
        key = json.dumps([VERSION, self.dataset, dict(self.arguments)])
        name = _STAGING_PREFIX + hashlib.sha256(key.encode()).hexdigest()[:16]
        folder = self.path / name
        with self._writable():
            self.path.mkdir(parents=True, exist_ok=True)
        with nullcontext() if shared else alone_in(self.path):
            with self._writable():
                folder.mkdir(exist_ok=True)
                if not shared:
                    self._clean(folder)
            try:
                yield folder
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                raise Unfinished(
                    f"the disk of --output={self.path} is full: make room and run the same command "
                    "again, finished parts are kept"
                ) from error
            except UserError as error:
                # Otherwise inputs or arguments are at fault: nothing to continue from.
                if not shared and not isinstance(error, Unfinished):
                    folder.rmtree(missing_ok=True)
                raise
            if not shared:
                folder.rmtree(missing_ok=True)

    def publish(self, staging: epath.Path, facts: Mapping[str, object], markdown: str) -> None:
        """Moves the finished dataset and its card here, in place of an earlier one.

        The card holds the arguments and these `facts`; `markdown` is the same for people.
        """
        replaceable = {self._made().get("dataset"), self.dataset}
        for outdated in (CARD, _MARKDOWN_CARD, REPORT):
            (self.path / outdated).unlink(missing_ok=True)
        # Only what is a dataset is ever deleted, whatever else goes by the same name.
        for old in self._stored() & replaceable:
            (self.path / old).rmtree()
        made = {"dataset": self.dataset, "command": self.command, "arguments": dict(self.arguments)}
        text = json.dumps(made | dict(facts), indent=2, ensure_ascii=False) + "\n"
        for name, content in ((_MARKDOWN_CARD, markdown), (CARD, text)):
            (staging / name).write_bytes(content.encode())
        # The dataset last: without its card it would be taken for somebody else's.
        for name in (_MARKDOWN_CARD, CARD, self.dataset):
            (staging / name).rename(self.path / name)

    def _clean(self, folder: epath.Path) -> None:
        """Deletes other staging folders and the unfinished files of a writable `folder`."""
        for leftover in self.path.glob(f"{_STAGING_PREFIX}*"):
            if leftover.name != folder.name:
                leftover.rmtree()
        for pattern in ("shards", "*/*"):
            for draft in folder.glob(f"{pattern}/{DRAFT}*"):
                draft.unlink()
        (folder / DRAFT).write_bytes(b"")
        (folder / DRAFT).unlink()

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise UserError(
                f"cannot write to --output={self.path}: {reason}; choose a folder you may write to"
            ) from error

    def _stored(self) -> set[str]:
        """Names of the datasets that are here."""
        return {folder.parent.name for folder in dataset_folders(self.path)}

    def _made(self) -> dict:
        """The card of the dataset that is here; empty without one, or where it is damaged."""
        try:
            made = json.loads((self.path / CARD).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return {}
        return made if isinstance(made, dict) else {}

    def _differences(self) -> str:
        """What differs between the stored and the wanted dataset; empty if nothing does."""
        made = self._made()
        if not made:
            return f"its {CARD} is missing or damaged"
        if made.get("dataset") != self.dataset:
            return f"{made.get('dataset')}, not {self.dataset}"
        stored, wanted = made.get("arguments", {}), self.arguments
        return ", ".join(
            f"--{name} was {stored.get(name)}, now {wanted.get(name)}"
            for name in sorted(stored.keys() | wanted.keys())
            if stored.get(name) != wanted.get(name)
        )


# Appends a video to a shard: its number of frames and its serialized records, each with a digest of
# its content.
AddVideo = Callable[[int, Iterable[tuple[bytes, str]]], None]


@dataclass
class ShardFacts:
    """The description of a shard, as it is stored beside it.

    `stamp` is a digest of all that it was made of; `inputs` has facts on each input, `lengths` the
    frames of each video, `num_bytes` and `digests` are of the serialized records.
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
        except (FileNotFoundError, ValueError, TypeError):
            # After a power failure the file may be there, but empty.
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
    """Makes the finished `shards` of each split a TFDS dataset, and deletes other files there.

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
