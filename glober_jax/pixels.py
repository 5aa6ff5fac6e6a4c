"""Advice on how to convert arrays of other types and ranges to uint8 pixels."""

import numpy as np

# Half a grey level of pixels in [0, 1]: values beyond 1 by less are rounded to 255.
_MARGIN = 0.5 / 255


def conversion(x: np.ndarray, verb: str) -> str:
    """Advice such as "save (x * 255).round()...", with the given verb.

    The expression follows from type and range; where these are ambiguous, it has placeholders for
    black and white.
    """
    if x.dtype == bool:
        return f"{verb} 255 * x.astype(np.uint8)"
    if x.dtype.kind not in "iuf":
        return f"convert the values to numbers first: {x.dtype} is not numeric"
    low, high = float(x.min()), float(x.max())
    if not np.isfinite([low, high]).all():
        return "it has values that are NaN or infinite; look for what made them"
    scaled = _scaled(low, high, x.dtype.kind == "f")
    unknown = "" if scaled else ", of which nobody knows what is black and what is white: find out"
    scaled = scaled or "((x - black) / (white - black) * 255)"
    expression = f"{scaled}.round().clip(0, 255).astype(np.uint8)"
    return f"its values lie in {low:g}..{high:g}{unknown}; {verb} {expression}"


def _scaled(low: float, high: float, is_float: bool) -> str | None:
    """The expression that scales values of this range to 0..255; None where it is ambiguous."""
    # Smaller integers may be of another depth, or indices of a palette.
    if low >= -0.5 and 15.5 < high < 255.5:
        return "x"
    if low >= 0 and 2**14 <= high < 2**16:
        return "(x / 257)"
    if not is_float or high > 1 + _MARGIN:
        return None
    if low >= -_MARGIN:
        return "(x * 255)"
    # Values within 0.5 of 0 may be of -0.5..0.5, and slightly negative ones the result of a filter.
    if -1 - 2 * _MARGIN <= low < -0.1 and not (low >= -0.5 and 0 < high <= 0.5):
        return "((x + 1) * 127.5)"
    return None
