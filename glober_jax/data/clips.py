"""Which frames of a video make an example. Pure: no files, no pixels.

A clip is T frames of one video, `stride` apart. K of them, evenly spaced, are the key frames the
encoder sees; n others, in ascending order, are the targets a loss is taken on. A frame's index is
its position in the clip divided by T, in [0, 1).

Dimensions: T clip frames, K key frames, n target frames, D = 1 + T random numbers.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from glober_jax.errors import UserError


@dataclass(frozen=True)
class ClipSpec:
    """The shape of a clip; zero key or target frames means that none are wanted."""

    num_frames: int = 16
    num_key_frames: int = 8
    num_target_frames: int = 2
    stride: int = 1

    def __post_init__(self) -> None:
        if self.num_frames < 1 or self.stride < 1:
            raise UserError(
                f"a clip needs at least one frame and a stride of at least 1, not num_frames="
                f"{self.num_frames}, stride={self.stride}"
            )
        for name in ("num_key_frames", "num_target_frames"):
            if not 0 <= getattr(self, name) <= self.num_frames:
                raise UserError(
                    f"{name}={getattr(self, name)} must lie between 0 and "
                    f"num_frames={self.num_frames}"
                )

    @property
    def span(self) -> int:
        """How many consecutive frames of the video a clip reaches over."""
        return (self.num_frames - 1) * self.stride + 1

    @property
    def num_draws(self) -> int:
        """D: how many random numbers decide about a clip."""
        return 1 + self.num_frames

    @cached_property
    def key_positions(self) -> np.ndarray:
        """Positions of the key frames in the clip: int64 [K], floor(k T / K)."""
        return np.arange(self.num_key_frames) * self.num_frames // max(self.num_key_frames, 1)


@dataclass(frozen=True)
class ClipFrames:
    """The frames of one clip.

    Attributes:
      key_ids_K: int64 [K], frame numbers in the video.
      target_ids_n: int64 [n], ascending.
      target_index_n: float32 [n], positions of the targets in the clip divided by T.
    """

    key_ids_K: np.ndarray
    target_ids_n: np.ndarray
    target_index_n: np.ndarray


def sample_clip(draws_D: np.ndarray, video_length: int, spec: ClipSpec) -> ClipFrames:
    """Draws a clip: a uniform start, and distinct targets uniform over its positions.

    Args:
      draws_D: `spec.num_draws` independent uniform numbers in [0, 1). The first says where the clip
        starts; the rest rank its positions, of which the first n become targets.
      video_length: frames of the video.
      spec: the shape of the clip.

    Raises:
      ValueError: the video is shorter than `spec.span`.
    """
    start = int(draws_D[0] * _num_starts(video_length, spec))
    targets_n = np.sort(draws_D[1:].argsort()[: spec.num_target_frames])
    return _clip_at(start, targets_n, spec)


def centre_clip(video_length: int, spec: ClipSpec) -> ClipFrames:
    """The clip in the middle of the video, with every one of its frames as a target: n = T.

    Raises:
      ValueError: the video is shorter than `spec.span`.
    """
    start = (_num_starts(video_length, spec) - 1) // 2
    return _clip_at(start, np.arange(spec.num_frames), spec)


def _num_starts(video_length: int, spec: ClipSpec) -> int:
    if video_length < spec.span:
        raise ValueError(f"a clip of span {spec.span} does not fit into {video_length} frames")
    return video_length - spec.span + 1


def _clip_at(start: int, targets_n: np.ndarray, spec: ClipSpec) -> ClipFrames:
    return ClipFrames(
        key_ids_K=start + spec.stride * spec.key_positions,
        target_ids_n=start + spec.stride * targets_n,
        target_index_n=(targets_n / spec.num_frames).astype(np.float32),
    )
