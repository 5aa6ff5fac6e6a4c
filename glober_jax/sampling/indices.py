"""Real indices of the frames to make: 0 is the first frame of the clip, 1 its end.

Dimension key: n frames, T frames of a training clip.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from glober_jax.errors import UserError

# Hours of video; the indices alone would not fit into memory far above.
_MOST_FRAMES = 100_000


def frame_indices(
    clip_frames: int,
    *,
    start: float = 0.0,
    end: float = 1.0,
    num_frames: int | None = None,
    rate: float | None = None,
    indices: Sequence[float] = (),
) -> np.ndarray:
    """Indices of the frames to make, float64 [n].

    Args:
      clip_frames: T.
      start, end: the part of the clip, [start, end) within [0, 1].
      num_frames: n, spread evenly over that part: start + (end - start) i / n.
      rate: frames per frame of a training clip, so 1 is the training rate and 2 slow motion at half
        the speed: start + i / (T rate). The default is 1.
      indices: exactly these.

    Raises `UserError` for two ways at once, an empty or impossible part, or too many frames.
    """
    if len(indices):
        if num_frames is not None or rate is not None or (start, end) != (0.0, 1.0):
            raise UserError("--indices says it all: leave out --start, --end, --num_frames, --rate")
        return check_indices(indices, "--indices")
    if num_frames is not None and rate is not None:
        raise UserError("give --num_frames or --rate, not both: one follows from the other")
    if not 0 <= start < end <= 1:
        raise UserError(
            f"--start={start:g} must be below --end={end:g}, and both between 0, the clip's first "
            "frame, and 1, its end"
        )
    if num_frames is not None:
        _check_count(num_frames)
        return start + (end - start) * np.arange(num_frames) / num_frames
    rate = 1.0 if rate is None else rate
    if not 0 < rate < np.inf:
        raise UserError(f"--rate={rate:g} must be above 0")
    # Rounding must not add a frame at `end` itself.
    count = np.ceil((end - start) * clip_frames * rate - 1e-9)
    _check_count(count)
    return start + np.arange(count) / (clip_frames * rate)


def check_indices(indices: Any, name: str) -> np.ndarray:
    """Given indices, called `name`, as float64 [n]; `UserError` where they are none of a clip."""
    try:
        given = np.asarray(indices)
        if given.dtype.kind in "bc":
            raise TypeError
        index_n = given.astype(np.float64)
    except (TypeError, ValueError):
        raise UserError(f"{name} is {indices!r}: give numbers from 0 to 1") from None
    if index_n.ndim != 1:
        raise UserError(
            f"{name} is shaped {list(index_n.shape)}: give a list of numbers from 0 to 1, which "
            "serves all videos"
        )
    _check_count(len(index_n))
    wrong = index_n[~((index_n >= 0) & (index_n <= 1))]
    if wrong.size:
        raise UserError(
            f"{name} has {wrong[0]:g}: all lie between 0, the clip's first frame, and 1, its end"
        )
    return index_n


def _check_count(count: float) -> None:
    if not 1 <= count <= _MOST_FRAMES:
        raise UserError(
            f"a video of {count:,.0f} frames is not possible: from 1 to {_MOST_FRAMES:,} are"
        )
