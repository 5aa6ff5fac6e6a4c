"""A set of videos of one frame size, and whether two sets can be compared.

Dimension key: F chosen frames, H, W frame size, C = 3 colours, L tokens of a text, E their width.
"""

import functools
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from glober_jax.errors import UserError
from glober_jax.evaluation.protocols import Protocol, to_fit


@dataclass(frozen=True, kw_only=True)
class VideoSet:
    """Videos of one frame size, read one at a time; `video_io` opens them.

    Attributes:
      source: the path that the user gave.
      size: height and width of every frame.
      names, lengths: name and number of frames of each video.
      labels: of each video, an index into `class_names`; None where there are no classes.
      notes: sentences on the files, for the reader of the scores.
      read: (video, frames) to uint8 [F, H, W, C]; raises `UserError` for damaged files.
      content: the stored bytes of a video, in pieces, for `fingerprint`.
      read_text: (video) to its caption's token embeddings, float16 [L, E], or None.
    """

    source: str
    size: tuple[int, int]
    names: tuple[str, ...]
    lengths: tuple[int, ...]
    labels: tuple[int, ...] | None = None
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    read: Callable[[int, Sequence[int]], np.ndarray]
    content: Callable[[int], Iterable[bytes]]
    read_text: Callable[[int], np.ndarray | None] = lambda video: None

    def __len__(self) -> int:
        return len(self.names)

    def long_enough(self, num_frames: int) -> list[int]:
        """The videos of at least `num_frames` frames, in order."""
        return [i for i, length in enumerate(self.lengths) if length >= num_frames]

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hex digits of the stored bytes and their order, without names; reads the whole set."""
        total = hashlib.sha256(repr(self.lengths).encode())
        for index in range(len(self)):
            digest = hashlib.sha256()
            for piece in self.content(index):
                digest.update(piece)
            total.update(digest.digest())
        return total.hexdigest()[:16]


def check_pair(real: VideoSet, generated: VideoSet, protocol: Protocol) -> list[str]:
    """Notes on the scores of a pair; `UserError` for unlike frame sizes or too short videos."""
    if real.size != generated.size:
        raise UserError(
            f"the real videos in {real.source} are {pixels(real.size)} and the generated ones in "
            f"{generated.source} are {pixels(generated.size)}: give real videos of the same size"
        )
    notes, num_frames = [], protocol.min_length
    for kind, videos in (("real", real), ("generated", generated)):
        notes += [f"{kind} videos: {note}" for note in videos.notes]
        count = len(videos.long_enough(num_frames))
        if count == 0:
            longest = max(videos.lengths)
            raise UserError(
                f"the {kind} videos in {videos.source} are too short: clips of {num_frames} frames "
                f"are compared and the longest video has {longest}; "
                f"{to_fit(protocol, longest, 'give longer videos')}"
            )
        if short := len(videos) - count:
            notes.append(
                f"{short:,} of {len(videos):,} {kind} videos, shorter than {num_frames} frames, "
                "left out."
            )
    if real.fingerprint == generated.fingerprint:
        notes.append("The real and the generated videos are the same.")
    return notes


def pixels(size: tuple[int, int]) -> str:
    """A frame size (height, width) as text, width first."""
    height, width = size
    return f"{width}x{height} pixels"
