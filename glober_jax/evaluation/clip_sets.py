"""Clips to be measured, and the set of videos they come from, read block by block.

Dimension key: B clips of a block, T frames, H, W frame size, C colours.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from glober_jax.evaluation.video_sets.video_set import VideoSet


@dataclasses.dataclass(frozen=True)
class ClipSet:
    """Clips of one shape.

    Attributes:
      kind: what they are, in one word, for people and file names.
      identity: all that decides their pixels, for JSON: two sets of one identity are the same.
      num_clips: how many there are.
      read: (first, count) to uint8 [B, T, H, W, C], or [B, 2, T, H, W, C] of clips in pairs.
    """

    kind: str
    identity: Mapping[str, Any]
    num_clips: int
    read: Callable[[int, int], np.ndarray]


def clips_of_videos(
    kind: str,
    videos: VideoSet,
    places: Sequence[tuple[int, int]],
    *,
    num_frames: int,
    stride: int,
) -> ClipSet:
    """Clips of stored videos, each at a (video, first frame)."""

    def read(first: int, count: int) -> np.ndarray:
        return np.stack(
            [
                videos.read(video, range(start, start + num_frames * stride, stride))
                for video, start in places[first : first + count]
            ]
        )

    identity = {
        "videos": videos.fingerprint,
        "places": [[int(video), int(start)] for video, start in places],
        "num_frames": num_frames,
        "stride": stride,
    }
    return ClipSet(kind, identity, len(places), read)
