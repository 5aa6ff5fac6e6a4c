"""Random access to the videos of a prepared dataset, decoding only the frames asked for.

`VideoSource` and `Video` are what the loader needs to know; `open_videos` gives them for a folder
written by `glober_jax.prepare`, and anything else with the same shape, a dataset of latents for
one, can stand in.

Dimensions: F requested frames, H rows, W columns, C channels, L tokens of a caption, E width of
a token's embedding.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from etils import epath
from google.protobuf.message import DecodeError

from glober_jax.data.damage import DamagedRecord
from glober_jax.data.frames import decode_jpeg, jpeg_shape
from glober_jax.data.schema import CLASS_NAMES, FEATURES, TEXT, TextInfo, deserialize
from glober_jax.data.stored_records import StoredRecords, open_records

_HOW_TO_MAKE = (
    "  python -m glober_jax.prepare synthetic_sky --output={directory}\n"
    "  python -m glober_jax.prepare video_folder --input=DIR --output={directory}"
)


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

    def allocate(self, frame_ids: Sequence[int]) -> np.ndarray:
        """The array that `read` would return, without its content."""

    def read_into(self, frame_ids: Sequence[int], out: Sequence[np.ndarray]) -> None:
        """Writes each frame asked for to its own array [H, W, C]."""

    def mirrored(self) -> Self:
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

    def mirrored(self) -> Self:
        return replace(self, is_mirrored=not self.is_mirrored)

    def read(self, frame_ids: Sequence[int]) -> np.ndarray:
        """Decodes the frames asked for, and no others: uint8 [F, H, W, 3].

        Raises:
          DamagedRecord: a frame is not a readable JPEG, or the frames differ in size.
        """
        frames_FHWC = self.allocate(frame_ids)
        self.read_into(frame_ids, frames_FHWC)
        return frames_FHWC

    def allocate(self, frame_ids: Sequence[int]) -> np.ndarray:
        """Uninitialised uint8 [F, H, W, 3], by the header of the first of these frames.

        Raises:
          DamagedRecord: that is not a readable JPEG.
        """
        with self._damaged(frame_ids[0]):
            shape = jpeg_shape(self.jpegs[frame_ids[0]])
        return np.empty((len(frame_ids), *shape), np.uint8)

    def read_into(self, frame_ids: Sequence[int], out: Sequence[np.ndarray]) -> None:
        """Decodes the frames asked for, and no others.

        Raises:
          DamagedRecord: a frame is not a readable JPEG, or of another size than its array.
        """
        for frame_id, frame_HWC in zip(frame_ids, out, strict=True):
            with self._damaged(frame_id):
                decode_jpeg(self.jpegs[frame_id], out=frame_HWC, mirrored=self.is_mirrored)

    @contextlib.contextmanager
    def _damaged(self, frame_id: int) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            reason = f"its frame {frame_id} is damaged ({error})"
            raise DamagedRecord(f"video {self.video_id}", reason) from error


class StoredVideos:
    """One split of a prepared dataset. Opens its files on first use, so it pickles small."""

    def __init__(self, records: StoredRecords):
        """Gives `records` of the schema as videos."""
        self._records = records
        metadata = records.metadata
        self.class_names: tuple[str, ...] = tuple(metadata.get(CLASS_NAMES, ()))
        self.text_info = TextInfo(**metadata[TEXT]) if TEXT in metadata else None
        self.fingerprint = records.fingerprint
        self.shard_lengths = records.shard_lengths

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> StoredVideo:
        """Reads one record without decoding any of its frames.

        Raises:
          IndexError: there is no such record.
          DamagedRecord: the record, or its shard, is damaged or gone.
        """
        text_shape = (self.text_info.length, self.text_info.width) if self.text_info else None
        try:
            record = deserialize(self._records[index], text_shape)
        except DecodeError as error:
            raise self._records.unreadable(index, error) from error
        return StoredVideo(
            video_id=record.video_id,
            label=record.label,
            fps=record.fps,
            jpegs=record.frames,
            caption=record.caption,
            text_LE=record.text_LE,
        )

    def __repr__(self) -> str:
        return f"StoredVideos({self._records!r})"


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
    return StoredVideos(
        open_records(
            directory,
            split,
            required=FEATURES,
            how_to_make=_HOW_TO_MAKE,
            max_damaged=max_damaged,
        )
    )
