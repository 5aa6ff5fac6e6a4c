"""The real clips that a protocol chooses. Dimension key: V videos."""

from collections.abc import Sequence

import numpy as np

from glober_jax.errors import UserError
from glober_jax.evaluation.protocols import Protocol, Videos, to_fit


def choose_clips(
    protocol: Protocol, lengths: Sequence[int], labels: Sequence[int], repeat: int = 0
) -> list[tuple[int, int]]:
    """The real clips of a repeat as (video number, first frame), sorted.

    A video's clip does not depend on `num_clips`. There are fewer clips than that where there are
    fewer usable videos and `repeat_videos` is off.

    Args:
      protocol: the settings.
      lengths: frames of each video, in sorted order of the videos' names.
      labels: class of each video, for "class_balanced".
      repeat: 0 to `protocol.repeats` - 1.

    Raises `UserError` where no video is long enough.
    """
    lengths_V = np.asarray(lengths, np.int64)
    usable = np.flatnonzero(lengths_V >= protocol.min_length)
    if not usable.size:
        longest = int(lengths_V.max(initial=0))
        there = f"the longest of {len(lengths_V)} has {longest}" if longest else "there are none"
        raise UserError(
            f"protocol {protocol.name} needs videos of at least {protocol.min_length} frames, but "
            f"{there}; {to_fit(protocol, longest, 'prepare the data with longer videos')}"
        )
    rng = np.random.default_rng((protocol.seed, repeat))
    room_V = np.maximum(lengths_V - protocol.span, 0)
    clips: list[tuple[int, int]] = []
    while len(clips) < protocol.num_clips:
        # Drawn for all videos, so that a clip does not depend on which others are taken.
        starts_V = rng.integers(room_V + 1) if protocol.start == "random" else room_V // 2
        order = _order(protocol.videos, usable, np.asarray(labels), rng)
        chosen = order[: protocol.num_clips - len(clips)]
        clips += zip(chosen.tolist(), starts_V[chosen].tolist(), strict=True)
        if not protocol.repeat_videos:
            break
    return sorted(clips)


def _order(
    videos: Videos, usable: np.ndarray, labels_V: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """All usable videos in the order they are taken in."""
    if videos == "first":
        return usable
    shuffled = rng.permutation(usable)
    if videos == "random":
        return shuffled
    # The rank of each video within its class: a stable sort by it takes classes in turn.
    turns = np.zeros(len(shuffled), np.int64)
    for label in np.unique(labels_V[shuffled]):
        of_class = labels_V[shuffled] == label
        turns[of_class] = np.arange(of_class.sum())
    return shuffled[np.argsort(turns, kind="stable")]
