"""Random access to the videos of a prepared dataset, decoding only the frames asked for.

The loader takes any `VideoSource`: `open_videos` opens a dataset of `glober_jax.prepare`,
`latent_videos.open_latents` a cache of latents.

Dimensions: F requested frames, H rows, W columns, C channels, L tokens of a caption, E width of
a token's embedding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
from etils import epath
from google.protobuf.message import DecodeError

from glober_jax.data.clips import ClipSpec
from glober_jax.data.damage import DamagedVideo, ShortVideo
from glober_jax.data.frames import decode_jpeg, jpeg_shape
from glober_jax.data.schema import (
    CLASS_NAMES,
    FEATURES,
    FRAMES_PER_RECORD,
    TEXT,
    TextInfo,
    VideoRecord,
    deserialize,
)
from glober_jax.data.stored_records import StoredRecords, open_records
from glober_jax.errors import UserError

_HOW_TO_MAKE = (
    "  python -m glober_jax.prepare synthetic_sky --output={directory}\n"
    "  python -m glober_jax.prepare video_folder --input=DIR --output={directory}"
)


class Video(Protocol):
    """One video of a source, for one thread; reading any attribute may raise DamagedVideo.

    `text_LE` are float16 embeddings of the caption; None where the source has no texts.
    """

    video_id: str
    label: int
    fps: float
    num_frames: int
    caption: str
    text_LE: np.ndarray | None

    def read(self, frame_ids: Sequence[int]) -> np.ndarray:
        """The frames asked for, in that order: [F, H, W, C], uint8 pixels or float latents."""

    def mirrored(self) -> Self:
        """The same video with left and right swapped, where its source `has_mirrored`."""


class VideoSource(Protocol):
    """A list of videos with random access, safe to read from several threads.

    `has_mirrored` says whether its videos can be had mirrored; devices mirror pixels.
    """

    class_names: tuple[str, ...]
    fingerprint: str
    text_info: TextInfo | None
    has_mirrored: bool

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Video: ...


@dataclass(frozen=True)
class StoredVideo:
    """Video number `index` of a split, of JPEG frames; records are read once, when first needed.

    `parse` raises DecodeError, ValueError or TypeError.
    """

    stored: StoredRecords
    index: int
    parse: Callable[[bytes], VideoRecord]
    _records: dict[int, VideoRecord] = field(default_factory=dict, repr=False)

    @property
    def num_frames(self) -> int:
        return int(self.stored.lengths[self.index])

    @property
    def video_id(self) -> str:
        return self._any.video_id

    @property
    def label(self) -> int:
        return self._any.label

    @property
    def fps(self) -> float:
        return self._any.fps

    @property
    def caption(self) -> str:
        return self._read([0])[0].caption

    @property
    def text_LE(self) -> np.ndarray | None:
        return self._read([0])[0].text_LE

    def read(self, frame_ids: Sequence[int]) -> np.ndarray:
        """Decodes the frames asked for, and no others: uint8 [F, H, W, 3].

        Raises as `stored_frames`, and DamagedVideo for unreadable frames or frames of two sizes.
        """
        jpegs, place = self.stored_frames(frame_ids), 0
        try:
            frames_FHWC = np.empty((len(jpegs), *jpeg_shape(jpegs[0])), np.uint8)
            for place, jpeg in enumerate(jpegs):
                decode_jpeg(jpeg, out=frames_FHWC[place])
        except ValueError as error:
            what = f"its frame {frame_ids[place]} is damaged ({error})"
            raise DamagedVideo(f"video {self.video_id}", what) from error
        return frames_FHWC

    def stored_frames(self, frame_ids: Sequence[int]) -> list[Any]:
        """The frames as they are stored; raises IndexError, or DamagedVideo for a lost record."""
        if min(frame_ids) < 0 or max(frame_ids) >= self.num_frames:
            raise IndexError(f"frames {min(frame_ids)} to {max(frame_ids)} of {self.num_frames}")
        numbers, places = zip(*(divmod(id, FRAMES_PER_RECORD) for id in frame_ids), strict=True)
        records = self._read(numbers)
        return [record.frames[place] for record, place in zip(records, places, strict=True)]

    @property
    def _any(self) -> VideoRecord:
        """A record that has been read, or else the first."""
        return next(iter(self._records.values())) if self._records else self._read([0])[0]

    def _read(self, numbers: Sequence[int]) -> list[VideoRecord]:
        missing = [number for number in dict.fromkeys(numbers) if number not in self._records]
        found = self.stored.read(self.index, missing) if missing else ()
        for number, data in zip(missing, found, strict=True):
            place = (number * FRAMES_PER_RECORD, self.num_frames)
            try:
                record = self.parse(data)
                if (record.start, record.num_frames) != place:
                    raise DecodeError("a record of another video is in its place")
            except (DecodeError, ValueError, TypeError) as error:
                raise self.stored.unreadable(self.index, error) from error
            self._records[number] = record
        return [self._records[number] for number in numbers]


class StoredVideos:
    """One split of a prepared dataset. Opens its files on first use, so it pickles small."""

    has_mirrored = False
    _video = StoredVideo

    def __init__(self, records: StoredRecords):
        """Gives `records` of the schema as videos."""
        self.records, metadata = records, records.metadata
        self.class_names: tuple[str, ...] = tuple(metadata.get(CLASS_NAMES, ()))
        self.text_info = TextInfo(**metadata[TEXT]) if TEXT in metadata else None
        self.fingerprint = records.fingerprint

    def __len__(self) -> int:
        return len(self.records.lengths)

    def __getitem__(self, index: int) -> StoredVideo:
        """A video of which nothing is read before it is asked for; raises IndexError."""
        if not 0 <= index < len(self):
            raise IndexError(f"video {index} of {len(self)}")
        return self._video(self.records, index, self._parse)

    def _parse(self, data: bytes) -> VideoRecord:
        record = deserialize(data, self.text_info.width if self.text_info else None)
        if self.text_info and not record.start and len(record.text_LE) != self.text_info.length:
            raise DecodeError(f"its caption has {len(record.text_LE)} embeddings")
        return record


def open_videos(directory: epath.PathLike, split: str, max_damaged: float = 0.0) -> StoredVideos:
    """Opens a split, "train" or "test"; for the arguments and errors see `open_records`."""
    return StoredVideos(open_records(directory, split, FEATURES, _HOW_TO_MAKE, max_damaged))


def read_frames(video: Video, frame_ids: Sequence[int], frame_size: int | None) -> np.ndarray:
    """`video.read` that raises UserError where the frames are not of the config's size."""
    frames_FHWC = video.read(frame_ids)
    height, width = frames_FHWC.shape[1:3]
    if frame_size is not None and (height, width) != (frame_size, frame_size):
        raise UserError(
            f"the frames of video {video.video_id} are {height}x{width}, the config wants "
            f"{frame_size}x{frame_size}: prepare the dataset with --size={frame_size}, or set the "
            "config's frame size"
        )
    return frames_FHWC


def check_length(video: Video, spec: ClipSpec) -> None:
    """Raises ShortVideo where a video is shorter than a clip."""
    if video.num_frames < spec.span:
        raise ShortVideo(
            f"video {video.video_id}",
            f"it has {video.num_frames} frames, a clip of {spec.num_frames} frames at stride "
            f"{spec.stride} needs {spec.span}: prepare with --min_frames={spec.span}, or shorten "
            "the clip",
        )


def check_some_length(source: VideoSource, spec: ClipSpec, name: str) -> None:
    """Raises UserError where there are videos, called `name`, and all are shorter than a clip."""
    longest = 0
    for index in range(len(source)):
        longest = max(longest, source[index].num_frames)
        if longest >= spec.span:
            return
    if longest:
        raise UserError(
            f"all {name} are too short: the longest of {len(source)} has {longest} frames, and a "
            f"clip of {spec.num_frames} frames at stride {spec.stride} takes {spec.span}; set "
            f"config.clip.num_frames={(longest - 1) // spec.stride + 1}, or prepare longer videos"
        )
