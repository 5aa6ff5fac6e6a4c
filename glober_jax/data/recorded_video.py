"""A video as the records it is stored in, each read when a frame of it is asked for.

Dimension key: L tokens of a caption, E width of a token's embedding.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np
from google.protobuf.message import DecodeError

from glober_jax.data.schema import FRAMES_PER_RECORD
from glober_jax.data.stored_records import StoredRecords


class Record(Protocol):
    """Some consecutive frames of a video; see `schema.VideoRecord`."""

    video_id: str
    label: int
    fps: float
    num_frames: int
    start: int
    caption: str
    text_LE: np.ndarray | None


AnyRecord = TypeVar("AnyRecord", bound=Record)


@dataclass(frozen=True)
class RecordedVideo(Generic[AnyRecord]):
    """A video of a split. What has been read of it stays; one thread may use it at a time.

    Every property but `num_frames` may raise DamagedVideo.

    Attributes:
      stored: the records of its split.
      index: its place in the split.
      parse: makes a record of its bytes; raises DecodeError, ValueError or TypeError.
    """

    stored: StoredRecords
    index: int
    parse: Callable[[bytes], AnyRecord]
    _read: dict[int, AnyRecord] = field(default_factory=dict, repr=False)

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
        return self._records([0])[0].caption

    @property
    def text_LE(self) -> np.ndarray | None:
        return self._records([0])[0].text_LE

    def places(self, frame_ids: Sequence[int]) -> Iterator[tuple[AnyRecord, int]]:
        """The record that each of some frames is in, and its place there.

        Raises:
          IndexError: there is no such frame.
          DamagedVideo: a record, or its shard, is damaged or gone.
        """
        if min(frame_ids) < 0 or max(frame_ids) >= self.num_frames:
            raise IndexError(f"frames {min(frame_ids)} to {max(frame_ids)} of {self.num_frames}")
        records = self._records([frame_id // FRAMES_PER_RECORD for frame_id in frame_ids])
        return zip(records, [frame_id % FRAMES_PER_RECORD for frame_id in frame_ids], strict=True)

    @property
    def _any(self) -> AnyRecord:
        """A record that has been read, or else the first."""
        return next(iter(self._read.values())) if self._read else self._records([0])[0]

    def _records(self, numbers: Sequence[int]) -> list[AnyRecord]:
        if missing := list(dict.fromkeys(number for number in numbers if number not in self._read)):
            for number, data in zip(missing, self.stored.read(self.index, missing), strict=True):
                self._read[number] = self._parsed(number, data)
        return [self._read[number] for number in numbers]

    def _parsed(self, number: int, data: bytes) -> AnyRecord:
        try:
            record = self.parse(data)
            if (record.start, record.num_frames) != (number * FRAMES_PER_RECORD, self.num_frames):
                raise DecodeError("a record of another video is in its place")
            return record
        except (DecodeError, ValueError, TypeError) as error:
            raise self.stored.unreadable(self.index, error) from error
