"""Which inputs are held out for testing, and which share a shard, by the list of inputs alone.

Nothing is decoded, so every process and every rerun decides the same.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

from glober_jax.data.media.tree import MediaItem
from glober_jax.errors import UserError

SPLITS = ("train", "test")
LEAST_BYTES = 8 * 2**20
_SHARDS = 256
_MOST = 128

# The inputs by the splits they are for, in order. Those for both give "test" their last part.
HeldOut = dict[tuple[str, ...], list[MediaItem]]


def hold_out(
    items: list[MediaItem], test_fraction: float, *, divide: bool = True
) -> tuple[HeldOut, str]:
    """Assigns every input to its splits; raises UserError where one split would be empty.

    Folders or a list decide where there are any. Otherwise whole groups are held out if there are
    more than `0.5 / test_fraction`: those whose names have the smallest hashes, so that more videos
    hardly change which. Else the last part of each video is or, without `divide`, one group.

    Returns:
      The inputs, and a sentence to `format` with the numbers of held-out and of usable ones.
    """
    if any(item.split == "test" for item in items):
        given = {(split,): [item for item in items if item.split == split] for split in SPLITS}
        if not given["train",]:
            raise UserError("the input has a test split but no usable video for training")
        return given, "train and test as the input says"
    groups = [item.group or f"/{item.video_id}" for item in items]
    by_hash = sorted(set(groups), key=lambda name: hashlib.sha256(name.encode()).digest())
    count = round(len(by_hash) * test_fraction)
    if count < 1 and divide:
        return {SPLITS: items}, "held out the last part of {} of {} videos for testing"
    if len(by_hash) == 1:
        raise UserError(
            "nothing can be held out for testing: there is only one video, or one group of them, "
            "of fewer than twice --min_frames; add videos, or lower --min_frames"
        )
    held_out = set(by_hash[: max(count, 1)])
    found: HeldOut = {("train",): [], ("test",): []}
    for item, group in zip(items, groups, strict=True):
        found["test" if group in held_out else "train",].append(item)
    together = f", those of {len(held_out)} groups" if len(by_hash) < len(items) else ""
    how = f"held out {{}} of {{}} videos for testing, whole{together}"
    return found, how


def pieces_of(length: int, splits: Sequence[str], options: Any) -> list[tuple[str, int, int]]:
    """Split, first frame, and the one after the last, of each video that an input becomes.

    An input for both splits gives `max(min_frames, test_fraction * length)` frames to "test", or
    none if fewer than `min_frames` were left. What is longer than `max_frames` is cut into the
    fewest pieces that are not, even in length. For the `options` see `MediaOptions`.
    """
    cut = length - max(options.min_frames, round(length * options.test_fraction))
    if len(splits) == 1 or cut < options.min_frames:
        cut = length
    pieces = []
    for split, start, stop in zip(splits, (0, cut), (cut, length), strict=False):
        count = math.ceil((stop - start) / (options.max_frames or length))
        bounds = [start + (stop - start) * i // max(count, 1) for i in range(count + 1)]
        pieces += [(split, bounds[i], bounds[i + 1]) for i in range(count)]
    return pieces


def cut_shards(sizes: Sequence[int]) -> list[slice]:
    """Which consecutive inputs share a shard, by their sizes in bytes.

    Makes about `_SHARDS` shards, of `LEAST_BYTES` to `_MOST` times that, or of one larger input.
    """
    room = min(max(sum(sizes) // _SHARDS, LEAST_BYTES), _MOST * LEAST_BYTES)
    starts, filled = [0], 0
    for place, size in enumerate(sizes):
        if filled and filled + size > room:
            starts.append(place)
            filled = 0
        filled += size
    return [slice(*bounds) for bounds in zip(starts, [*starts[1:], len(sizes)], strict=True)]
