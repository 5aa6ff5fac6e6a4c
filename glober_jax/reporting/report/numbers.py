"""Numbers as people read them."""

import math

NOTHING = "\N{EN DASH}"


def decimals(value: float | None) -> int:
    """Places after the point that show three or four digits of `value`."""
    if value is None or not math.isfinite(value) or value == 0:
        return 2
    return min(max(2 - math.floor(math.log10(abs(value))), 1), 5)


def written(value: float | None, places: int | None = None) -> str:
    """A measured value, with as many digits as mean anything; a dash where there is none.

    Args:
      value: the number.
      places: digits after the point; by default those that suit the value.
    """
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return _with_minus("∞" if value > 0 else "-∞")
    if isinstance(value, int):
        return _with_minus(f"{value:,}")
    return _with_minus(f"{value:,.{decimals(value) if places is None else places}f}")


def short(value: float) -> str:
    """A label of an axis: 20k, 1.5M, 0.02."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return _with_minus(f"{value / unit:g}{letter}")
    return _with_minus(f"{value:g}")


def duration(seconds: float) -> str:
    """Seconds, or minutes, or hours."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def _with_minus(text: str) -> str:
    # A hyphen is too short, and a line may break after it.
    return text.replace("-", "\N{MINUS SIGN}")
