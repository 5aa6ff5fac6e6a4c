"""Random access to the videos of a prepared dataset, decoding only the frames asked for.

`VideoSource` and `Video` are what the loader needs to know; `open_videos` gives them for a folder
written by `glober_jax.prepare`, and anything else with the same shape, an in-memory set of latents
for one, can stand in.

Dimensions: F requested frames, H rows, W columns, C channels, L tokens of a caption, E width of
a token's embedding.
"""

import bisect
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import tensorflow_datasets as tfds
from google.protobuf.message import DecodeError

from glober_jax.data.building.output_folder import dataset_folders, local_folder
from glober_jax.data.frames import decode_jpeg, jpeg_shape
from glober_jax.data.schema import CLASS_NAMES, FEATURES, FINGERPRINT, TEXT, TextInfo, deserialize
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

    def mirrored(self) -> "Video":
        """The same video with left and right swapped."""


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
    is_mirrored: bool = False

    @property
    def num_frames(self) -> int:
        return len(self.jpegs)

    def mirrored(self) -> "StoredVideo":
        return replace(self, is_mirrored=not self.is_mirrored)

    def read(self, frame_ids: Sequence[int]) -> np.ndarray:
        """Decodes the frames asked for, and no others: uint8 [F, H, W, 3].

        Raises:
          UserError: a frame is not a readable JPEG, or the frames differ in size.
        """
        frames_FHWC: np.ndarray | None = None
        for position, frame_id in enumerate(frame_ids):
            jpeg = self.jpegs[frame_id]
            try:
                if frames_FHWC is None:
                    frames_FHWC = np.empty((len(frame_ids), *jpeg_shape(jpeg)), np.uint8)
                decode_jpeg(jpeg, out=frames_FHWC[position], mirrored=self.is_mirrored)
            except ValueError as error:
                raise UserError(
                    f"frame {frame_id} of video {self.video_id} is damaged ({error}): prepare the "
                    "dataset again with python -m glober_jax.prepare and --overwrite"
                ) from error
        return frames_FHWC


class StoredVideos:
    """One split of a prepared dataset. Opens its files on first use, so it pickles small."""

    def __init__(self, folder: Path, split: str):
        """Reads the description of the dataset version in `folder`; raises UserError as below."""
        self._folder = folder
        self._split = split
        info = _read_info(folder, split)
        self._shard_lengths = tuple(info.splits[split].shard_lengths)
        self._shards = tuple(Path(path) for path in info.splits[split].filepaths)
        metadata = info.metadata or {}
        self.class_names = tuple(metadata.get(CLASS_NAMES, ()))
        self.text_info = TextInfo(**metadata[TEXT]) if TEXT in metadata else None
        texts = self.text_info
        self._text_shape = (texts.length, texts.width) if texts else None
        self.fingerprint = metadata.get(FINGERPRINT, {}).get(split, "")
        self._records: Sequence[bytes] | None = None
        missing = [path for path in self._shards if not path.is_file()]
        if missing:
            raise UserError(
                f"{len(missing)} of {len(self._shards)} shards are missing, the first is "
                f"{missing[0]}: {_again(folder)}"
            )

    def __len__(self) -> int:
        return sum(self._shard_lengths)

    def __getitem__(self, index: int) -> StoredVideo:
        """Reads one record without decoding any of its frames.

        Raises:
          IndexError: there is no such record.
          UserError: the record's shard is damaged or gone.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"video {index} of {len(self)}")
        if self._records is None:
            self._records = self._open()
        try:
            record = deserialize(self._records[index], self._text_shape)
        except (RuntimeError, DecodeError) as error:
            raise UserError(
                f"record {index} of the {self._split} split cannot be read, its shard "
                f"{self._shard_of(index)} is damaged or gone ({str(error)[:80]}): "
                f"{_again(self._folder)}"
            ) from error
        return StoredVideo(
            video_id=record.video_id,
            label=record.label,
            fps=record.fps,
            jpegs=record.frames,
            caption=record.caption,
            text_LE=record.text_LE,
        )

    def __getstate__(self) -> Mapping[str, object]:
        return {**self.__dict__, "_records": None}

    def __repr__(self) -> str:
        return f"StoredVideos({str(self._folder)!r}, {self._split!r})"

    def _open(self) -> Sequence[bytes]:
        builder = tfds.builder_from_directory(self._folder)
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        return builder.as_data_source(self._split, deserialize_method=raw)

    def _shard_of(self, index: int) -> Path:
        ends = list(itertools.accumulate(self._shard_lengths))
        return self._shards[bisect.bisect_right(ends, index)]


def open_videos(directory: str | Path, split: str) -> StoredVideos:
    """Opens one split of the dataset that `glober_jax.prepare` wrote to `directory`.

    Args:
      directory: the `--output` of prepare.
      split: "train" or "test".

    Raises:
      UserError: there is no dataset or more than one, no such split, or a shard is missing.
    """
    directory = local_folder(str(directory))
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
    return StoredVideos(folders[0], split)


def _read_info(folder: Path, split: str) -> tfds.core.DatasetInfo:
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


def _again(folder: Path) -> str:
    return (
        "copy it again, or run the python -m glober_jax.prepare command that made "
        f"{folder.parent.parent} once more with --overwrite"
    )
