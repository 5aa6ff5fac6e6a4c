"""Sources that record what was read of them, and comparisons of batches."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from glober_jax.data.loader import Batch
from glober_jax.data.source import Video, VideoSource


@dataclass
class CountingVideo:
    """Frames that spell their own address: channel 0 is the video, channel 1 the frame."""

    label: int
    num_frames: int
    reads: list[list[int]]
    fps: float = 0.0
    caption: str = ""
    text_LE: np.ndarray | None = None
    is_mirrored: bool = False

    def mirrored(self) -> "CountingVideo":
        return replace(self, is_mirrored=not self.is_mirrored)

    @property
    def video_id(self) -> str:
        return f"video_{self.label}"

    def read(self, frame_ids: Sequence[int]) -> np.ndarray:
        self.reads.append([int(frame_id) for frame_id in frame_ids])
        frames = np.zeros((len(frame_ids), 2, 3, 2), np.float32)
        frames[..., 0] = self.label
        frames[..., 1] = np.asarray(frame_ids)[:, None, None]
        frames[:, :, 0] += 0.5
        return frames[:, :, ::-1] if self.is_mirrored else frames


@dataclass
class CountingSource:
    """An in-memory source of float latents that remembers what was read."""

    num_videos: int
    num_frames: int = 12
    class_names: tuple[str, ...] = ()
    fingerprint: str = "none"
    text_info: None = None
    has_mirrored: bool = True
    reads: list[list[int]] = field(default_factory=list)

    def __len__(self) -> int:
        return self.num_videos

    def __getitem__(self, index: int) -> CountingVideo:
        if not 0 <= index < self.num_videos:
            raise IndexError(index)
        return CountingVideo(index, self.num_frames, self.reads)


@dataclass
class LoggedSource:
    """A source that leaves a byte in a file for every video asked for, in whatever process."""

    source: VideoSource
    log: Path

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Video:
        with self.log.open("ab") as file:
            file.write(b".")
        return self.source[index]


def joined(parts: list[list[Batch]]) -> list[Batch]:
    """The global batches, of every process's rows in turn."""
    return [
        {name: np.concatenate([part[name] for part in step]) for name in step[0]}
        for step in zip(*parts, strict=True)
    ]


def assert_same(first: list[Batch], second: list[Batch]) -> None:
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
