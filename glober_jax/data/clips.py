"""Which frames of a video make an example. Pure: no files, no pixels.

A clip is T frames of one video, `stride` apart. K of them, evenly spaced, are the key frames that
the encoder sees; n frames are the targets of the loss. A frame's index is its place in the clip,
counted in strides, divided by T, in [0, 1).

Dimensions: T clip frames, K key frames, n target frames.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from glober_jax.errors import UserError


@dataclass(frozen=True)
class ClipSpec:
    """The shape of a clip; zero key or target frames means that none are wanted.

    With a `max_stride` above 0 the stride of a training clip is uniform over stride..max_stride, as
    far as the video is long enough, and targets may lie between the clip's frames.
    `published_keys` spaces key frames as in the authors' release, short of the last frames.
    """

    num_frames: int = 16
    num_key_frames: int = 8
    num_target_frames: int = 2
    stride: int = 1
    max_stride: int = 0
    published_keys: bool = False

    def __post_init__(self) -> None:
        if self.num_frames < 1 or self.stride < 1:
            given = f"num_frames={self.num_frames}, stride={self.stride}"
            raise UserError(
                f"a clip needs at least one frame and a stride of at least 1, not {given}"
            )
        if self.max_stride != 0 and self.max_stride < self.stride:
            raise UserError(
                f"max_stride={self.max_stride} must be 0 (every clip has stride={self.stride}) or "
                "at least stride"
            )
        for name in ("num_key_frames", "num_target_frames"):
            if not 0 <= (value := getattr(self, name)) <= self.num_frames:
                raise UserError(
                    f"{name}={value} must lie between 0 and num_frames={self.num_frames}"
                )

    @property
    def span(self) -> int:
        """Consecutive frames of the video that a clip reaches over, at its shortest stride."""
        return self.span_at(self.stride)

    def span_at(self, stride: int) -> int:
        """Consecutive frames of the video that a clip of that stride reaches over."""
        return (self.num_frames - 1) * stride + 1

    @cached_property
    def key_positions(self) -> np.ndarray:
        """Positions of the key frames in the clip: int64 [K].

        k (T - 1) / (K - 1), halves rounded up, so that the first and the last frame are among them;
        0 for K = 1. Published: floor(k T / K).
        """
        frames, keys = self.num_frames, self.num_key_frames
        if self.published_keys:
            return np.arange(keys) * frames // max(keys, 1)
        gaps = max(keys - 1, 1)
        return (2 * np.arange(keys) * (frames - 1) + gaps) // (2 * gaps)


class ClipFrames(NamedTuple):
    """The frames of one clip, ascending: int64 numbers in the video, float32 indices of targets."""

    key_ids_K: np.ndarray
    target_ids_n: np.ndarray
    target_index_n: np.ndarray


def sample_clip(rng: np.random.Generator, video_length: int, spec: ClipSpec) -> ClipFrames:
    """Draws a clip: uniform stride and start, and distinct targets uniform over its frames.

    Raises ValueError where the video is shorter than `spec.span`.
    """
    stride = spec.stride + int(rng.integers(_num_strides(video_length, spec)))
    span = spec.span_at(stride)
    start = int(rng.integers(video_length - span + 1))
    candidates, step = (span, 1) if spec.max_stride else (spec.num_frames, stride)
    targets_n = np.sort(rng.choice(candidates, spec.num_target_frames, replace=False))
    return _clip_at(start, stride, step * targets_n, spec)


def centre_clip(video_length: int, spec: ClipSpec) -> ClipFrames:
    """The clip in the middle of the video, with all of its frames as targets: n = T.

    Raises ValueError where the video is shorter than `spec.span`.
    """
    _num_strides(video_length, spec)
    start = (video_length - spec.span) // 2
    return _clip_at(start, spec.stride, spec.stride * np.arange(spec.num_frames), spec)


def _num_strides(video_length: int, spec: ClipSpec) -> int:
    """The number of strides, from `spec.stride` on, that fit into the video."""
    if video_length < spec.span:
        raise ValueError(f"a clip of span {spec.span} does not fit into {video_length} frames")
    longest = (video_length - 1) // max(spec.num_frames - 1, 1)
    return max(min(longest, spec.max_stride) - spec.stride, 0) + 1


def _clip_at(start: int, stride: int, offsets_n: np.ndarray, spec: ClipSpec) -> ClipFrames:
    """The clip of that stride at `start`, with targets `offsets_n` frames after it."""
    return ClipFrames(
        key_ids_K=start + stride * spec.key_positions,
        target_ids_n=start + offsets_n,
        target_index_n=(offsets_n / (stride * spec.num_frames)).astype(np.float32),
    )
