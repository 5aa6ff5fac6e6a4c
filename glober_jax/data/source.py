"""Random access to the videos of a prepared dataset, decoding only the frames asked for.

`VideoSource` and `Video` are what the loader needs to know; `open_videos` gives them for a folder
written by `glober_jax.prepare`, and anything else with the same shape, an in-memory set of latents
for one, can stand in.

Dimensions: F requested frames, H rows, W columns, C channels, L tokens of a caption, E width of
a token's embedding.
"""

import bisect
import contextlib
import hashlib
import importlib.util
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from google.protobuf.message import DecodeError

from glober_jax.data.building.output_folder import dataset_folders
from glober_jax.data.damage import DamagedRecord, allowed_damage
from glober_jax.data.frames import decode_jpeg
from glober_jax.data.schema import CLASS_NAMES, FEATURES, TEXT, TextInfo
from glober_jax.errors import UserError


class Video(Protocol):
    """One video of a source."""

    @property
    def video_id(self) -> str: ...

    @property
    def label(self) -> int: ...

    @property
    def fps(self) -> float: ...

    @property
    def num_frames(self) -> int: ...

    @property
    def caption(self) -> str: ...

    @property
    def text_LE(self) -> np.ndarray | None:
        """Token embeddings of the caption, float16; None where the source has no texts."""

    def read(self, frame_ids: Sequence[int]) -> np.ndarray:
        """The frames asked for, in that order: [F, H, W, C], uint8 pixels or float latents."""


class VideoSource(Protocol):
    """A list of videos with random access, safe to read from several threads."""

    @property
    def class_names(self) -> tuple[str, ...]: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def text_info(self) -> TextInfo | None: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Video: ...


@dataclass(frozen=True)
class StoredVideo:
    """A video whose frames are still JPEG bytes."""

    video_id: str
    label: int
    fps: float
    jpegs: Sequence[bytes]
    caption: str = ""
    text_LE: np.ndarray | None = None

    @property
    def num_frames(self) -> int:
        return len(self.jpegs)

    def read(self, frame_ids: Sequence[int]) -> np.ndarray:
        """Decodes the frames asked for, and no others: uint8 [F, H, W, 3].

        Raises:
          DamagedRecord: a frame is not a readable JPEG, or the frames differ in size.
        """
        frames = [self._decode(int(frame_id)) for frame_id in frame_ids]
        if len({frame_HWC.shape for frame_HWC in frames}) > 1:
            raise DamagedRecord(f"video {self.video_id}", "its frames differ in size")
        return np.stack(frames)

    def _decode(self, frame_id: int) -> np.ndarray:
        try:
            return decode_jpeg(self.jpegs[frame_id])
        except (OSError, ValueError, SyntaxError) as error:
            reason = f"its frame {frame_id} is no complete JPEG image"
            raise DamagedRecord(f"video {self.video_id}", reason) from error


class StoredVideos:
    """One split of a prepared dataset. Opens its files on first use, so it pickles small."""

    def __init__(self, folder: epath.Path, split: str, max_damaged: float):
        """Reads the description of the dataset version in `folder`; see `open_videos`."""
        self._folder = folder
        self._split = split
        info = _read_info(folder, split)
        self._shard_lengths = tuple(info.splits[split].shard_lengths)
        self._shard_ends = tuple(itertools.accumulate(self._shard_lengths))
        self._shards = tuple(epath.Path(path) for path in info.splits[split].filepaths)
        metadata = info.metadata or {}
        self.class_names = tuple(metadata.get(CLASS_NAMES, ()))
        self.text_info = TextInfo(**metadata[TEXT]) if TEXT in metadata else None
        self.fingerprint = metadata.get("fingerprint", {}).get(split) or _fingerprint(
            info, split, self.class_names, self.text_info
        )
        self._records: Sequence[dict] | None = None
        self._missing = self._missing_shards()
        self._check_missing(max_damaged)

    def __len__(self) -> int:
        return self._shard_ends[-1]

    def __getitem__(self, index: int) -> StoredVideo:
        """Reads one record without decoding any of its frames.

        Raises:
          IndexError: there is no such record.
          DamagedRecord: the record, or its shard, is damaged or gone.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"video {index} of {len(self)}")
        shard = self._shard_of(index)
        if shard in self._missing:
            raise self._damaged(index, f"its shard {self._shards[shard]} is missing")
        if self._records is None:
            self._records = self._open()
        try:
            record = self._records[index]
            if record["video_id"] is None:
                # What a shard cut short gives for the records it lost.
                raise DecodeError("the record is empty")
        except (RuntimeError, DecodeError) as error:
            shown = " ".join(str(error).split())[:80]
            reason = f"its shard {self._shards[shard]} is damaged or gone ({shown})"
            raise self._damaged(index, reason) from error
        return StoredVideo(
            video_id=record["video_id"].decode(),
            label=int(record["label"]),
            fps=float(record["fps"]),
            jpegs=record["frames"],
            caption=record["caption"].decode() if self.text_info else "",
            text_LE=record["text"] if self.text_info else None,
        )

    def __getstate__(self) -> Mapping[str, object]:
        return {**self.__dict__, "_records": None}

    def __repr__(self) -> str:
        return f"StoredVideos({str(self._folder)!r}, {self._split!r})"

    def _open(self) -> Sequence[dict]:
        builder = tfds.builder_from_directory(self._folder)
        return builder.as_data_source(self._split, decoders={"frames": tfds.decode.SkipDecoding()})

    def _shard_of(self, index: int) -> int:
        return bisect.bisect_right(self._shard_ends, index)

    def _damaged(self, index: int, reason: str) -> DamagedRecord:
        return DamagedRecord(f"record {index} of the {self._split} split", reason)

    def _missing_shards(self) -> frozenset[int]:
        # One listing: a data set may have thousands of shards, and a bucket answers slowly.
        there = {path.name for path in self._folder.iterdir()}
        return frozenset(i for i, shard in enumerate(self._shards) if shard.name not in there)

    def _check_missing(self, max_damaged: float) -> None:
        lost = sum(self._shard_lengths[shard] for shard in self._missing)
        allowed = allowed_damage(len(self), max_damaged)
        if lost > allowed:
            raise UserError(
                f"{len(self._missing)} of {len(self._shards)} shards are missing, the first is "
                f"{self._shards[min(self._missing)]}, and with them {lost} of {len(self)} records, "
                f"of which config.data.max_damaged={max_damaged} lets {allowed} go: copy the "
                f"dataset again, or run the python -m glober_jax.prepare command that made "
                f"{self._folder.parent.parent} once more with --overwrite"
            )


def open_videos(directory: epath.PathLike, split: str, max_damaged: float = 0.0) -> StoredVideos:
    """Opens one split of the dataset that `glober_jax.prepare` wrote to `directory`.

    Args:
      directory: the `--output` of prepare, or where it was copied to: a folder or a gs:// path.
      split: "train" or "test".
      max_damaged: the fraction of the records that missing shards may hold; reading those raises
        `DamagedRecord`.

    Raises:
      UserError: there is no dataset or more than one, no such split, too many shards are missing,
        or the bucket cannot be read.
    """
    directory = _readable_folder(os.fspath(directory))
    with _bucket_errors(directory):
        folders = dataset_folders(directory)
        if not folders:
            raise UserError(
                f"there is no prepared dataset in {directory}: make one with\n"
                f"  python -m glober_jax.prepare synthetic_sky --output={directory}\n"
                f"  python -m glober_jax.prepare video_folder --input=DIR --output={directory}"
            )
        if len(folders) > 1:
            names = ", ".join(str(folder.relative_to(directory)) for folder in folders)
            raise UserError(f"{directory} holds several datasets ({names}): keep one per folder")
        return StoredVideos(folders[0], split, max_damaged)


def _readable_folder(directory: str) -> epath.Path:
    if "://" not in directory:
        return epath.Path(os.path.abspath(directory))
    if not directory.startswith("gs://"):
        raise UserError(
            f"cannot read a dataset from {directory}: use a folder on this machine, or gs://"
        )
    if importlib.util.find_spec("gcsfs") is None:
        raise UserError(
            f"reading {directory} needs the package gcsfs: run python -m pip install gcsfs"
        )
    return epath.Path(directory)


@contextlib.contextmanager
def _bucket_errors(directory: epath.Path) -> Iterator[None]:
    """Whatever a bucket's client raises is about the bucket or the way there."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or "://" not in str(directory):
            raise
        shown = " ".join(str(error).split())[:200]
        raise UserError(
            f"cannot read {directory} ({type(error).__name__}: {shown}): check its name, the "
            "network and the credentials (gcloud auth application-default login)"
        ) from error


def _read_info(folder: epath.Path, split: str) -> tfds.core.DatasetInfo:
    info = tfds.builder_from_directory(folder).info
    missing = [name for name in FEATURES if name not in info.features]
    if missing:
        raise UserError(
            f"the dataset in {folder} has no {', '.join(missing)}: it was not written by "
            "python -m glober_jax.prepare"
        )
    if split not in info.splits:
        raise UserError(
            f"the dataset in {folder} has no split {split!r}, only {', '.join(info.splits)}"
        )
    return info


def _fingerprint(
    info: tfds.core.DatasetInfo,
    split: str,
    class_names: tuple[str, ...],
    text_info: TextInfo | None,
) -> str:
    """16 hex digits that change with the size or order of the content, without reading it."""
    facts = {
        "dataset": info.full_name,
        "split": split,
        "class_names": class_names,
        "num_bytes": info.splits[split].num_bytes,
        "shard_lengths": list(info.splits[split].shard_lengths),
    }
    if text_info is not None:
        facts["text"] = asdict(text_info)
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
