"""Line charts as inline SVG, coloured by the page's style sheet, so they fit light and dark."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator

from glober_jax.reporting.report.elements import Element, tag
from glober_jax.reporting.report.numbers import short, written

# In the units of the SVG, which are CSS pixels where a chart is as wide as a phone.
_WIDTH, _HEIGHT = 360, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 38
_TICKS = 4
# As many as the style sheet has.
_COLOURS = 5
# Lines of fewer points show each; longer ones are thinned to what a screen can show.
_MARKED_POINTS, _DRAWN_POINTS = 33, 300


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart.

    Attributes:
      label: what the legend calls it.
      x, y: its points, by rising x.
      intervals: low and high end of each y's interval, drawn as bars; empty for none.
      faint: y values drawn as a light line behind, such as before smoothing.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    intervals: Sequence[tuple[float, float]] = ()
    faint: Sequence[float] | None = None


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    x_label: str,
    log_x: bool = False,
    log_y: bool = False,
    caption: str = "",
) -> Element:
    """A `<figure>` with a title, a legend where there is more than one line, and the chart.

    Every value must be finite, and positive on a logarithmic axis.
    """
    every_x = np.concatenate([np.ravel(line.x) for line in lines])
    drawn = [y for line in lines for y in (line.y, line.intervals, line.faint) if y is not None]
    every_y = np.concatenate([np.ravel(y) for y in drawn])
    x_at, x_ticks = _axis(every_x, (_LEFT, _WIDTH - _RIGHT), log_x, whole=True)
    y_at, y_ticks = _axis(every_y, (_HEIGHT - _BOTTOM, _TOP), log_y, margin=0.06)
    chart = tag(
        "svg",
        *_grid(x_at, x_ticks, y_at, y_ticks),
        tag(
            "text",
            x_label,
            class_="axis",
            x=(_LEFT + _WIDTH - _RIGHT) / 2,
            y=_HEIGHT - 4,
            text_anchor="middle",
        ),
        *(_drawn(line, number, x_at, y_at) for number, line in enumerate(lines)),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=f"{title}: a chart",
    )
    legend = [
        tag("li", tag("i", class_=f"swatch {_colour(number)}"), line.label)
        for number, line in enumerate(lines)
    ]
    return tag(
        "figure",
        tag("figcaption", tag("b", title), tag("span", caption) if caption else None),
        tag("ul", *legend, class_="legend") if len(lines) > 1 else None,
        chart,
        class_="chart",
    )


_Position = Callable[[float], float]


def _axis(
    values: np.ndarray,
    ends: tuple[float, float],
    log: bool,
    *,
    margin: float = 0.0,
    whole: bool = False,
) -> tuple[_Position, list[float]]:
    """What turns a value into a place between `ends`, and the values to label."""
    scale = math.log if log else float
    low, high = scale(values.min()), scale(values.max())
    spread = (high - low) or abs(high) or 1.0
    # One value alone stands in the middle.
    low, high = (low, high) if high > low else (low - spread / 2, high + spread / 2)
    low, high = low - margin * spread, high + margin * spread
    start, stop = ends

    def position(value: float) -> float:
        return start + (scale(value) - low) / (high - low) * (stop - start)

    if log:
        lowest, highest = math.exp(low), math.exp(high)
        finest = [LogLocator(subs=subs).tick_values(lowest, highest) for subs in ((1, 2, 5), (1,))]
        ticks = finest[0] if _inside(finest[0], lowest, highest) <= 2 * _TICKS else finest[1]
    else:
        lowest, highest = low, high
        ticks = MaxNLocator(_TICKS, integer=whole).tick_values(lowest, highest)
    slack = 1e-9 * (highest - lowest)
    return position, [float(t) for t in ticks if lowest - slack <= t <= highest + slack]


def _inside(ticks: np.ndarray, low: float, high: float) -> int:
    return int(((ticks >= low) & (ticks <= high)).sum())


def _grid(
    x_at: _Position, x_ticks: Sequence[float], y_at: _Position, y_ticks: Sequence[float]
) -> list[Element]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    elements = []
    for tick in y_ticks:
        y = round(y_at(tick), 1)
        elements.append(tag("line", class_="grid", x1=_LEFT, x2=right, y1=y, y2=y))
        label = tag("text", short(tick), x=_LEFT - 7, y=y + 3.5, text_anchor="end")
        elements.append(label)
    elements.append(tag("line", class_="base", x1=_LEFT, x2=right, y1=bottom, y2=bottom))
    for tick in x_ticks:
        x = round(x_at(tick), 1)
        elements.append(tag("line", class_="base", x1=x, x2=x, y1=bottom, y2=bottom + 4))
        elements.append(tag("text", short(tick), x=x, y=bottom + 16, text_anchor="middle"))
    return elements


def _drawn(line: Line, number: int, x_at: _Position, y_at: _Position) -> Element:
    few = len(line.x) <= _MARKED_POINTS
    parts = [] if line.faint is None else [_path(line.x, line.faint, x_at, y_at, "faint")]
    parts.append(_path(line.x, line.y, x_at, y_at, "stroke"))
    for x, (low, high) in zip(line.x, line.intervals, strict=False):
        place, top, bottom = round(x_at(x), 1), round(y_at(high), 1), round(y_at(low), 1)
        parts.append(tag("line", class_="bar", x1=place, x2=place, y1=top, y2=bottom))
    for x, y in zip(line.x, line.y, strict=True) if few else ():
        hint = tag("title", f"{line.label}: {written(float(y))} at {short(x)}")
        point = tag("circle", hint, cx=round(x_at(x), 1), cy=round(y_at(y), 1), r=2.6)
        parts.append(point)
    return tag("g", *parts, class_=_colour(number))


def _colour(number: int) -> str:
    return f"line{number % _COLOURS}"


def _path(
    x: Sequence[float], y: Sequence[float], x_at: _Position, y_at: _Position, class_: str
) -> Element:
    step = max(1, len(x) // _DRAWN_POINTS)
    # The last point stays, whatever is thinned out.
    chosen = itertools.chain(range(0, len(x) - 1, step), (len(x) - 1,))
    points = " ".join(f"{x_at(x[i]):.1f},{y_at(y[i]):.1f}" for i in chosen)
    return tag("polyline", class_=class_, points=points)
