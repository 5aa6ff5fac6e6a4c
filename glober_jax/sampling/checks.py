"""Checks of arrays given to a model, for the commands and for Python; see `indices` too.

Dimension key: X, Y frame size, C = 3 colours; "..." are leading axes, named by `axes`.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from glober_jax.errors import UserError
from glober_jax.pixels import conversion

# Far more than a run makes; their numbers fit into int32.
MOST_VIDEOS = 1_000_000


def check_frames(frames: Any, axes: Sequence[str], size: int, name: str) -> np.ndarray:
    """Frames as uint8 [..., X, Y, C]; `UserError` with the conversion if they are none."""
    x = _array(frames, name)
    if wrong := _wrong_frames(x, len(axes)):
        wanted = ", ".join((*axes, str(size), str(size), "3"))
        raise UserError(f"{name} is {x.dtype} {list(x.shape)}, not uint8 [{wanted}]: {wrong}")
    if x.shape[-3:-1] != (size, size):
        raise UserError(
            f"{name} has frames of {x.shape[-2]}x{x.shape[-3]} and the model takes {size}x{size}: "
            "crop and resize them first"
        )
    return x


def check_features(
    features: Any, axes: Sequence[str], shape: tuple[int, ...], name: str
) -> np.ndarray:
    """Features as float32 [..., *shape]; `UserError` if they are none, empty or not finite."""
    x = _array(features, name)
    missing = len(axes) + len(shape) - x.ndim
    ends_well = x.shape[-len(shape) :] == shape
    if not ends_well or missing or not jnp.issubdtype(x.dtype, jnp.floating):
        wanted = ", ".join((*axes, *map(str, shape)))
        hint = "; of a single one give x[None]" if ends_well and missing == 1 else ""
        raise UserError(f"{name} is {x.dtype} {list(x.shape)}, not float32 [{wanted}]{hint}")
    if x.size == 0:
        raise UserError(f"{name} is empty: it is shaped {list(x.shape)}")
    with np.errstate(over="ignore"):
        x = x.astype(np.float32)
    if not np.isfinite(x).all():
        raise UserError(f"{name} has values that are NaN or infinite; look for what made them")
    return x


def _array(values: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise UserError(f"{name} is no array: {error}; give arrays of one shape, stacked") from None


def _wrong_frames(x: np.ndarray, num_axes: int) -> str | None:
    """How to mend an array that is not frames with `num_axes` leading axes; None where it is."""
    rank, colours = num_axes + 3, x.shape[-1] if x.ndim else 0
    if x.ndim == rank and colours != 3:
        if colours == 4:
            return "drop the fourth channel, give x[..., :3]"
        if colours == 1:
            return "grey frames need three equal colours, give np.repeat(x, 3, axis=-1)"
        if x.shape[-3] == 3:
            return "the colours must come last, give np.moveaxis(x, -3, -1)"
        return "no last axis of 3 colours"
    if x.ndim == rank - 1:
        if colours == 3:
            return "an axis is missing, of a single one give x[None]"
        return "grey frames need three equal colours, give np.repeat(x[..., None], 3, axis=-1)"
    if x.ndim == rank + 1:
        return "one at a time, give x[0]"
    if x.ndim != rank:
        return f"that are {rank} axes"
    if x.size == 0:
        return "it is empty"
    return None if x.dtype == np.uint8 else conversion(x, "give")
