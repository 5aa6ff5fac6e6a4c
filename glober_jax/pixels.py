"""How values that are no pixels become them: uint8, 0 black and 255 white."""

import numpy as np

# Rounding to a pixel takes this much of a range that ends at 1 back into it.
_MARGIN = 0.5 / 255


def conversion(x: np.ndarray, verb: str) -> str:
    """A phrase that says which expression of `x` has its pixels, behind `verb`, such as "save".

    What it is depends on the type and the range of all values, and is said only where these have
    one meaning; else the phrase says how to find out.
    """
    if x.dtype == bool:
        return f"{verb} 255 * x.astype(np.uint8)"
    if x.dtype.kind not in "iuf":
        return f"convert the values to numbers first, of which {x.dtype} is no kind"
    low, high = float(x.min()), float(x.max())
    if not np.isfinite([low, high]).all():
        return "it has values that are NaN or infinite; look for what made them"
    scaled = _scaled(low, high, x.dtype.kind == "f")
    unknown = "" if scaled else ", of which nobody knows what is black and what is white: find out"
    scaled = scaled or "((x - black) / (white - black) * 255)"
    expression = f"{scaled}.round().clip(0, 255).astype(np.uint8)"
    return f"its values lie in {low:g}..{high:g}{unknown}; {verb} {expression}"


def _scaled(low: float, high: float, is_float: bool) -> str | None:
    """What brings values of this range to 0..255; None where it may be one of several ranges."""
    # Less than that may be of any number of bits, or the numbers of colours in a palette.
    if low >= -0.5 and 15.5 < high < 255.5:
        return "x"
    if low >= 0 and 2**14 <= high < 2**16:
        return "(x / 257)"
    if not is_float or high > 1 + _MARGIN:
        return None
    if low >= -_MARGIN:
        return "(x * 255)"
    # Values about 0 that stay within 0.5 may be of -0.5..0.5, and small ones below 0 of a filter.
    if -1 - 2 * _MARGIN <= low < -0.1 and not (low >= -0.5 and 0 < high <= 0.5):
        return "((x + 1) * 127.5)"
    return None
