"""Puts examples into the rows of a batch: frames are decoded to where they stay.

Dimensions: F frames, H rows, W columns, C channels.
"""

import numpy as np

from glober_jax.data.batch_memory import BatchMemory
from glober_jax.data.clips import ClipFrames, ClipSpec
from glober_jax.data.damage import SHORTEN, DamagedVideo
from glober_jax.data.source import Video, VideoSource
from glober_jax.errors import UserError

Batch = dict[str, np.ndarray]


class BatchRows:
    """A batch whose arrays are made to the measure of the first of its examples."""

    def __init__(self, size: int, memory: BatchMemory) -> None:
        """Begins without fields; they will have `size` rows of that memory."""
        self.size = size
        self.batch: Batch = {}
        self._memory = memory

    def put(self, name: str, row: int, value: np.ndarray) -> None:
        """Writes one row of a field, which has that shape and type in every example."""
        self._field(name, value.shape, value.dtype)[row] = value

    def read_clip(self, row: int, video: Video, clip: ClipFrames, frame_size: int | None) -> None:
        """Reads key and target frames, where there are any; one that is both is read once.

        Raises:
          UserError: the frames are not of `frame_size`.
          DamagedVideo: one cannot be read, or is of another size than the row has room for.
        """
        ids = {"key_frames": clip.key_ids_K.tolist(), "target_frames": clip.target_ids_n.tolist()}
        every = [frame_id for some in ids.values() for frame_id in some]
        if not every:
            return
        sample = video.allocate(every)
        check_size(video, sample, frame_size)
        places: dict[int, np.ndarray] = {}
        repeats: list[tuple[np.ndarray, int]] = []
        for name, some in ids.items():
            if not some:
                continue
            shape = (len(some), *sample.shape[1:])
            frames_FHWC = self._field(name, shape, sample.dtype)[row]
            for frame_id, frame_HWC in zip(some, frames_FHWC, strict=True):
                if frame_id in places:
                    repeats.append((frame_HWC, frame_id))
                else:
                    places[frame_id] = frame_HWC
        video.read_into(list(places), list(places.values()))
        for frame_HWC, frame_id in repeats:
            frame_HWC[...] = places[frame_id]

    def _field(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        if name not in self.batch:
            self.batch[name] = self._memory.array((self.size, *shape), dtype)
        return self.batch[name]


def check_size(video: Video, frames_FHWC: np.ndarray, frame_size: int | None) -> None:
    """Raises UserError where a video's frames are not of the config's size."""
    height, width = frames_FHWC.shape[1:3]
    if frame_size is not None and (height, width) != (frame_size, frame_size):
        raise UserError(
            f"the frames of video {video.video_id} are {height}x{width}, the config wants "
            f"{frame_size}x{frame_size}: prepare the dataset with --size={frame_size}, or set the "
            "config's frame size"
        )


def check_length(video: Video, spec: ClipSpec) -> None:
    """Raises DamagedVideo where a video is shorter than a clip."""
    if video.num_frames < spec.span:
        raise DamagedVideo(
            f"video {video.video_id}",
            f"it has {video.num_frames} frames, a clip of {spec.num_frames} frames at stride "
            f"{spec.stride} needs {spec.span}: prepare with --min_frames={spec.span}, {SHORTEN}",
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
