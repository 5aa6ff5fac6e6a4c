"""Random access to the serialized records of one split, in a local folder or at gs://."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from google.protobuf.json_format import ParseError

from glober_jax.data.building.output import dataset_folders
from glober_jax.data.damage import DamagedVideo, allowed_damage, remedy
from glober_jax.data.files import bucket_errors, data_path, is_remote
from glober_jax.data.schema import FINGERPRINT, FRAMES_PER_RECORD, VIDEO_LENGTHS
from glober_jax.errors import UserError


class UnreadableDescription(UserError):
    """The files beside the shards, which describe the dataset, are damaged."""

    def __init__(self, folder: epath.Path, reason: object):
        """`reason` says what is wrong with them."""
        self.reason = " ".join(str(reason).split())[:80]
        what = f"the description of the dataset in {folder} cannot be read ({self.reason})"
        super().__init__(f"{what}: {remedy(folder.parent.parent)}")


class StoredRecords:
    """One split. Opens its files on first use, so it pickles small; many threads may read.

    Attributes:
      metadata: the dataset's.
      fingerprint: 16 hex digits of the split's content, "" without one.
      lengths: int32, frames of each video.
      shards, shard_lengths: file and number of videos of each shard.
      missing: numbers of the shards that are not there.
    """

    def __init__(self, folder: epath.Path, split: str, required: Sequence[str], max_damaged: float):
        """Reads the description of the dataset version in `folder`; see `open_records`."""
        self._folder, self._split = folder, split
        info = _read_info(folder, split, required)
        self.metadata = {key: value for key, value in info.metadata.items() if key != VIDEO_LENGTHS}
        self.fingerprint: str = self.metadata.get(FINGERPRINT, {}).get(split, "")
        self.lengths = np.array(info.metadata[VIDEO_LENGTHS][split], np.int32)
        # Where the records of each video begin, and where those of the last one end.
        self._starts = np.append(0, np.cumsum(-(-self.lengths // FRAMES_PER_RECORD)))
        ends = np.cumsum(info.splits[split].shard_lengths)
        self._ends = np.searchsorted(self._starts, ends)
        if self._ends[-1] != len(self.lengths) or (self._starts[self._ends] != ends).any():
            raise UnreadableDescription(folder, f"its {split} videos are not of those records")
        self.shard_lengths = tuple(np.diff(self._ends, prepend=0).tolist())
        self.shards = tuple(epath.Path(path) for path in info.splits[split].filepaths)
        self._records: Sequence[bytes] | None = None
        self._is_remote = is_remote(folder)
        # One listing: a data set may have thousands of shards, and a bucket answers slowly.
        there = {path.name for path in folder.iterdir()}
        self.missing = {i for i, shard in enumerate(self.shards) if shard.name not in there}
        lost = sum(self.shard_lengths[shard] for shard in self.missing)
        allowed = allowed_damage(len(self.lengths), max_damaged)
        if lost > allowed:
            raise UserError(
                f"{len(self.missing)} of {len(self.shards)} shards are missing, the first is "
                f"{self.shards[min(self.missing)]}, and with them {lost} of {len(self.lengths)} "
                f"videos, of which config.data.max_damaged={max_damaged} allows {allowed}: copy "
                f"the dataset again, or run the python -m glober_jax.prepare command that made "
                f"{folder.parent.parent} once more with --overwrite"
            )

    def read(self, video: int, numbers: Sequence[int]) -> Sequence[bytes]:
        """Serialized records of a video; raises DamagedVideo if their shard is damaged or gone."""
        if (shard := self._shard_of(video)) in self.missing:
            raise self._damaged(video, f"its shard {self.shards[shard]} is missing")
        if self._records is None:
            builder = tfds.builder_from_directory(self._folder)
            raw = tfds.decode.DeserializeMethod.RAW_BYTES
            self._records = builder.as_data_source(self._split, deserialize_method=raw)
        first = int(self._starts[video])
        indices = [first + number for number in numbers]
        try:
            if len(indices) > 1 and self._is_remote:
                return self._records.__getitems__(indices)
            # All at once would start threads, which from a disk takes longer than to read.
            return [self._records[index] for index in indices]
        except RuntimeError as error:
            raise self.unreadable(video, error) from error

    def unreadable(self, video: int, error: Exception) -> DamagedVideo:
        """The error for a record of a video that cannot be read or parsed."""
        shown = " ".join(str(error).split())[:80]
        shard = self.shards[self._shard_of(video)]
        return self._damaged(video, f"its shard {shard} is damaged or gone ({shown})")

    def videos_of(self, shard: int) -> range:
        """The videos that are in a shard."""
        return range(self._ends[shard] - self.shard_lengths[shard], self._ends[shard])

    def __getstate__(self) -> Mapping[str, object]:
        return {**self.__dict__, "_records": None}

    def _shard_of(self, video: int) -> int:
        return int(np.searchsorted(self._ends, video, side="right"))

    def _damaged(self, video: int, reason: str) -> DamagedVideo:
        return DamagedVideo(f"video {video} of the {self._split} split", reason)


def open_records(
    directory: epath.PathLike,
    split: str,
    required: Sequence[str],
    how_to_make: str,
    max_damaged: float = 0.0,
) -> StoredRecords:
    """Opens one split, "train" or "test", of a dataset in a local folder or at gs://.

    Args:
      required: features the dataset must have.
      how_to_make: what to run where there is none, with {directory} for the folder.
      max_damaged: fraction of the videos that missing shards may hold; these raise DamagedVideo.

    Raises:
      UserError: there is no dataset of that kind or more than one, no such split, too many shards
        are missing, the description is damaged, or the bucket cannot be read.
    """
    if is_remote(directory) and not os.fspath(directory).startswith("gs://"):
        raise UserError(f"cannot read a dataset from {directory}: use a local folder, or gs://")
    folder = data_path(directory)
    with bucket_errors(folder):
        found = dataset_folders(folder)
        if not found:
            make = how_to_make.format(directory=folder)
            raise UserError(f"there is no prepared dataset in {folder}: make one with\n{make}")
        if len(found) > 1:
            names = ", ".join(str(path.relative_to(folder)) for path in found)
            raise UserError(f"{folder} holds several datasets ({names}): keep one per folder")
        return StoredRecords(found[0], split, required, max_damaged)


def _read_info(folder: epath.Path, split: str, required: Sequence[str]) -> tfds.core.DatasetInfo:
    try:
        info = tfds.builder_from_directory(folder).info
        lengths = (info.metadata or {}).get(VIDEO_LENGTHS, {})
    # What JSON, protocol buffers and TFDS make of files that are cut or garbled.
    except (ValueError, KeyError, TypeError, ParseError, FileNotFoundError) as error:
        raise UnreadableDescription(folder, error) from error
    if missing := [name for name in required if name not in info.features]:
        raise UserError(
            f"the dataset in {folder} has no {', '.join(missing)}: it was not written by the "
            "python -m glober_jax.prepare command that is needed here, or by an earlier version "
            "of it: run that again with --overwrite"
        )
    if split not in info.splits:
        raise UserError(
            f"the dataset in {folder} has no split {split!r}, only {', '.join(info.splits)}"
        )
    if split not in lengths:
        raise UnreadableDescription(folder, f"metadata.json has no {VIDEO_LENGTHS} of {split}")
    return info
