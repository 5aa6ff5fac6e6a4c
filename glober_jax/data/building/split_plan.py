"""Decides which frames of which video go to training and which are held out for testing.

Pure: from the lengths of the videos to stretches of frames, the same on every run.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from glober_jax.errors import UserError


@dataclass(frozen=True)
class Stretch:
    """Frames `start` to `stop` (excluded) of video number `video`."""

    video: int
    start: int
    stop: int


@dataclass(frozen=True)
class SplitPlan:
    """The videos of each split, and one sentence on how the test split came about."""

    train: tuple[Stretch, ...]
    test: tuple[Stretch, ...]
    summary: str


def plan_splits(
    lengths: Sequence[int],
    splits: Sequence[str | None],
    groups: Sequence[str],
    *,
    min_frames: int,
    max_frames: int | None,
    test_fraction: float,
) -> SplitPlan:
    """Assigns every frame to a split and cuts what is too long.

    Where videos say their split, from the input's folders or a list, that decides. Otherwise whole
    groups of videos are held out, evenly spread over the list, where there are at least
    `1 / test_fraction` groups; with fewer, the last `max(min_frames, test_fraction * length)`
    frames of each video that can spare them; where none can, one group.

    Args:
      lengths: number of frames of each video, each at least `min_frames`.
      splits: the split each video belongs to, or None.
      groups: videos of the same group stay together; "" is a group of its own.
      min_frames: shortest stretch.
      max_frames: longest stretch, at least twice `min_frames`; None cuts none.
      test_fraction: part to hold out, in (0, 0.5].

    Raises:
      UserError: nothing could be put into one of the splits.
    """
    group_of = [group or f"/{video}" for video, group in enumerate(groups)]
    num_groups = len(set(group_of))
    if "test" in splits:
        whole = _as_given(lengths, splits)
    elif num_groups * test_fraction >= 1:
        whole = _whole_groups(lengths, group_of, round(num_groups * test_fraction))
    elif max(lengths) >= 2 * min_frames:
        whole = _last_parts(lengths, min_frames, test_fraction)
    elif num_groups > 1:
        whole = _whole_groups(lengths, group_of, 1)
    else:
        raise UserError(
            "nothing can be held out for testing: there is only one video, or one group of them, "
            f"of fewer than {2 * min_frames} frames; add videos, or lower --min_frames"
        )
    return SplitPlan(
        tuple(piece for stretch in whole.train for piece in _cut(stretch, max_frames)),
        tuple(piece for stretch in whole.test for piece in _cut(stretch, max_frames)),
        whole.summary,
    )


def _as_given(lengths: Sequence[int], splits: Sequence[str | None]) -> SplitPlan:
    chosen = {
        split: tuple(Stretch(i, 0, lengths[i]) for i, name in enumerate(splits) if name == split)
        for split in ("train", "test")
    }
    if not chosen["train"]:
        raise UserError("the input has a test split but no usable video for training")
    return SplitPlan(chosen["train"], chosen["test"], "train and test as the input says")


def _whole_groups(lengths: Sequence[int], group_of: Sequence[str], count: int) -> SplitPlan:
    # In the order of the list; a set would forget it.
    groups = list(dict.fromkeys(group_of))
    held_out = {groups[int((i + 0.5) * len(groups) / count)] for i in range(count)}
    whole = [Stretch(i, 0, length) for i, length in enumerate(lengths)]
    train = tuple(stretch for stretch in whole if group_of[stretch.video] not in held_out)
    test = tuple(stretch for stretch in whole if group_of[stretch.video] in held_out)
    together = "" if len(groups) == len(lengths) else f", those of {count} groups"
    summary = f"held out {len(test)} of {len(lengths)} videos for testing, whole{together}"
    return SplitPlan(train, test, summary)


def _last_parts(lengths: Sequence[int], min_frames: int, test_fraction: float) -> SplitPlan:
    train, test = [], []
    for video, length in enumerate(lengths):
        cut = length - max(min_frames, round(length * test_fraction))
        if cut < min_frames:
            train.append(Stretch(video, 0, length))
        else:
            train.append(Stretch(video, 0, cut))
            test.append(Stretch(video, cut, length))
    return SplitPlan(
        tuple(train),
        tuple(test),
        f"held out the last part of {len(test)} of {len(lengths)} videos for testing",
    )


def _cut(stretch: Stretch, max_frames: int | None) -> list[Stretch]:
    """Cuts into the fewest of at most `max_frames`, even in length, so none is a stub."""
    if max_frames is None:
        return [stretch]
    length = stretch.stop - stretch.start
    count = math.ceil(length / max_frames)
    bounds = [stretch.start + length * i // count for i in range(count + 1)]
    return [Stretch(stretch.video, bounds[i], bounds[i + 1]) for i in range(count)]
