"""Random access to the videos of a prepared dataset, decoding only the frames asked for.

`VideoSource` and `Video` are what the loader needs to know; `open_videos` gives them for a folder
written by `glober_jax.prepare`, and anything else with the same shape, a dataset of latents for
one, can stand in.

Dimensions: F requested frames, H rows, W columns, C channels, L tokens of a caption, E width of
a token's embedding.
"""

from collections.abc import Sequence
from typing import Protocol, Self

import numpy as np
from etils import epath
from google.protobuf.message import DecodeError

from glober_jax.data.damage import DamagedVideo
from glober_jax.data.frames import decode_jpeg, jpeg_shape
from glober_jax.data.recorded_video import RecordedVideo
from glober_jax.data.schema import CLASS_NAMES, FEATURES, TEXT, TextInfo, VideoRecord, deserialize
from glober_jax.data.stored_records import StoredRecords, open_records

_HOW_TO_MAKE = (
    "  python -m glober_jax.prepare synthetic_sky --output={directory}\n"
    "  python -m glober_jax.prepare video_folder --input=DIR --output={directory}"
)


class Video(Protocol):
    """One video of a source; for one thread. What it is asked for may raise DamagedVideo."""

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
        """The same video with left and right swapped, where its source `has_mirrored`."""


class VideoSource(Protocol):
    """A list of videos with random access, safe to read from several threads."""

    @property
    def class_names(self) -> tuple[str, ...]: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def text_info(self) -> TextInfo | None: ...

    @property
    def has_mirrored(self) -> bool:
        """Whether videos come mirrored too. Those of pixels do not: any device can mirror them."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Video: ...


class StoredVideo(RecordedVideo[VideoRecord]):
    """A video whose frames are still JPEG bytes."""

    def jpegs(self, frame_ids: Sequence[int]) -> list[bytes]:
        """The frames asked for, as they are stored.

        Raises:
          IndexError: there is no such frame.
          DamagedVideo: a record, or its shard, is damaged or gone.
        """
        return [record.frames[place] for record, place in self.places(frame_ids)]

    def read(self, frame_ids: Sequence[int]) -> np.ndarray:
        """Decodes the frames asked for, and no others: uint8 [F, H, W, 3].

        Raises:
          IndexError: there is no such frame.
          DamagedVideo: a record, or its shard, is damaged or gone, a frame is not a readable JPEG,
            or the frames differ in size.
        """
        frames_FHWC = self.allocate(frame_ids)
        self.read_into(frame_ids, frames_FHWC)
        return frames_FHWC

    def allocate(self, frame_ids: Sequence[int]) -> np.ndarray:
        """Uninitialised uint8 [F, H, W, 3], by the header of the first of these frames.

        Raises:
          DamagedVideo: that is not a readable JPEG.
        """
        # Together, the records of all of them may be read in the time of one.
        record, place = next(self.places(frame_ids))
        try:
            return np.empty((len(frame_ids), *jpeg_shape(record.frames[place])), np.uint8)
        except ValueError as error:
            raise self._damaged(frame_ids[0], error) from error

    def read_into(self, frame_ids: Sequence[int], out: Sequence[np.ndarray]) -> None:
        """Decodes the frames asked for, and no others.

        Raises:
          DamagedVideo: as of `read`; also if a frame is of another size than its array.
        """
        for frame_id, jpeg, frame_HWC in zip(frame_ids, self.jpegs(frame_ids), out, strict=True):
            try:
                decode_jpeg(jpeg, out=frame_HWC)
            except ValueError as error:
                raise self._damaged(frame_id, error) from error

    def _damaged(self, frame_id: int, error: ValueError) -> DamagedVideo:
        return DamagedVideo(f"video {self.video_id}", f"its frame {frame_id} is damaged ({error})")


class StoredVideos:
    """One split of a prepared dataset. Opens its files on first use, so it pickles small."""

    has_mirrored = False

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
        """A video of which nothing is read before it is asked for.

        Raises:
          IndexError: there is no such video.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"video {index} of {len(self)}")
        return StoredVideo(self._records, index, self._parse)

    def __repr__(self) -> str:
        return f"StoredVideos({self._records!r})"

    def _parse(self, data: bytes) -> VideoRecord:
        if self.text_info is None:
            return deserialize(data, None)
        record = deserialize(data, self.text_info.width)
        if record.start == 0 and len(record.text_LE) != self.text_info.length:
            raise DecodeError(f"its caption has {len(record.text_LE)} embeddings")
        return record


def open_videos(directory: epath.PathLike, split: str, max_damaged: float = 0.0) -> StoredVideos:
    """Opens one split of the dataset that `glober_jax.prepare` wrote to `directory`.

    Args:
      directory: the `--output` of prepare, or where it was copied to: a folder or a gs:// path.
      split: "train" or "test".
      max_damaged: the fraction of the videos that missing shards may hold; reading those raises
        `DamagedVideo`.

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
