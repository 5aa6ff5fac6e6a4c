"""Numbers as text."""

import math

import numpy as np

NOTHING = "\N{EN DASH}"


def number(value: float | None) -> str:
    """Three significant digits, or all of whole numbers; a dash for None and NaN."""
    if value is None or math.isnan(value):
        return NOTHING
    if isinstance(value, int) or abs(value) >= 100:
        text = f"{value:,.0f}"
    else:
        text = np.format_float_positional(value, 3, fractional=False, trim="-")
    # Unlike a hyphen, a minus sign allows no line break.
    return text.replace("-", "\N{MINUS SIGN}")


def percent(value: float | None) -> str:
    """A share as a whole percentage."""
    return NOTHING if value is None else f"{100 * value:.0f}\N{NO-BREAK SPACE}%"


def duration(seconds: float) -> str:
    """Seconds, minutes, or hours and minutes."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
