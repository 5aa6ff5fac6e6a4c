"""Finds videos of one split that are, in good part, videos of another, by their frames.

Frames are the same if their JPEG bytes are, which two copies of a video give when prepared alike.
A video counts as a duplicate of another if it shares at least two different frames with it, and at
least half of the different frames of the one that has fewer. Frames that many videos have, black
ones and title cards, do not count; nor does a single still picture.

Dimension key: T frames of a video, N different frames of every video of a split, R videos.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_MOST_VIDEOS = 16


@dataclass(frozen=True)
class FrameIndex:
    """The frames of a split, 12 bytes each.

    Attributes:
      digests_N: uint64, ascending.
      videos_N: int32, the video that each is of.
      counts_R: different frames of each video.
    """

    digests_N: np.ndarray
    videos_N: np.ndarray
    counts_R: np.ndarray

    def shared_with(self, digests_T: np.ndarray) -> Iterator[tuple[int, int]]:
        """The videos that another video duplicates, each with the number of shared frames."""
        digests = np.unique(digests_T)
        begins, ends = (
            np.searchsorted(self.digests_N, digests, side) for side in ("left", "right")
        )
        places = [
            self.videos_N[begin:end]
            for begin, end in zip(begins, ends, strict=True)
            if 0 < end - begin <= _MOST_VIDEOS
        ]
        if not places:
            return
        videos, shared = np.unique(np.concatenate(places), return_counts=True)
        needed = np.maximum(2, np.minimum(self.counts_R[videos], len(digests)) / 2)
        for video, count in zip(videos[shared >= needed], shared[shared >= needed], strict=True):
            yield int(video), int(count)


def index_frames(videos: Sequence[np.ndarray]) -> FrameIndex:
    """The index of some videos, given the 64-bit digests of their frames."""
    different = [np.unique(digests_T) for digests_T in videos]
    counts_R = np.array([len(digests) for digests in different], np.int32)
    digests_N = np.concatenate([np.empty(0, np.uint64), *different])
    order = np.argsort(digests_N)
    videos_N = np.repeat(np.arange(len(videos), dtype=np.int32), counts_R)
    return FrameIndex(digests_N[order], videos_N[order], counts_R)
