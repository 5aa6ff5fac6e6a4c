"""Line charts by matplotlib; each line is labelled at its end with its name and last value."""

import io
import itertools
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator, ScalarFormatter

from glober_jax.reporting.report.wording import number

# Readable on white and on black.
_COLOURS = ("#3b7dd8", "#d9622b", "#26966a", "#9a62d6", "#ab8100")
# Replaced by the text colour of the page, which depends on dark mode.
_INK = "#010203"
_INCHES = (4.2, 2.7)
# Of a line of text, relative to the axes.
_LABEL_HEIGHT = 0.09
_LABEL_LETTERS = 24
# A log axis over less than this ratio is labelled at 1, 2 and 5 of each power of ten.
_DECADES = 60.0
_SVG_STYLE = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), _INK),
    **dict.fromkeys(("xtick.color", "ytick.color", "grid.color"), _INK),
    # Text stays text, and a dollar sign a dollar sign.
    **{"svg.fonttype": "none", "svg.hashsalt": "report", "text.parse_math": False},
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart, float [points] by ascending x.

    `interval` are low and high ends of bars; `faint` are y values of a light line behind it.
    """

    label: str
    x: np.ndarray
    y: np.ndarray
    interval: tuple[np.ndarray, np.ndarray] | None = None
    faint: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Lines with a title and the names of both axes, units included."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    log_x: bool = False
    log_y: bool = False

    def svg(self) -> Markup:
        """An `<svg>` element, in the text colour of the page."""
        buffer = io.StringIO()
        with mpl.rc_context(_SVG_STYLE):
            figure = Figure(figsize=_INCHES, layout="constrained")
            self.draw(figure.subplots())
            nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
        text = buffer.getvalue()
        # Without ids, which would not be unique on the page.
        text = re.sub(r' id="[\w.]+_\d+"', "", text[text.index("<svg") :])
        return Markup(text.replace(_INK, "currentColor"))

    def draw(self, axes: Axes) -> None:
        """Draws the chart into axes of any figure."""
        for line, colour in zip(self.lines, itertools.cycle(_COLOURS), strict=False):
            if line.faint is not None:
                axes.plot(line.x, line.faint, color=colour, alpha=0.3, linewidth=0.8)
            # Markers show how few points there are.
            axes.plot(line.x, line.y, color=colour, marker="o" if len(line.x) < 20 else None, ms=3)
            if line.interval is not None:
                axes.vlines(line.x, *line.interval, color=colour, alpha=0.5)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=self.x_label == "step", min_n_ticks=1))
        axes.xaxis.set_major_formatter(EngFormatter(sep="") if self.x_label == "step" else "{x:g}")
        axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
        for is_log, axis, set_scale in (
            (self.log_x, axes.xaxis, axes.set_xscale),
            (self.log_y, axes.yaxis, axes.set_yscale),
        ):
            if is_log:
                set_scale("log")
                low, high = axis.get_view_interval()
                subs = (1, 2, 5) if high < _DECADES * low else (1,)
                axis.set_major_locator(LogLocator(subs=subs, numticks=6))
                axis.set_major_formatter("{x:g}")
                axis.set_minor_locator(NullLocator())
        axes.set_title(self.title, fontsize=11, fontweight="bold", loc="left")
        axes.set_xlabel(self.x_label, fontsize=9)
        axes.set_ylabel(self.y_label, fontsize=9)
        axes.tick_params(labelsize=9)
        axes.grid(alpha=0.15)
        axes.spines[["top", "right"]].set_visible(False)
        self._label_ends(axes)

    def _label_ends(self, axes: Axes) -> None:
        """Names and last values beside the ends of the lines, without overlap."""
        axes.autoscale_view()
        to_axes = axes.transData + axes.transAxes.inverted()
        labels = []
        for line, colour in zip(self.lines, itertools.cycle(_COLOURS), strict=False):
            end = to_axes.transform((line.x[-1], line.y[-1]))[1]
            text = ": ".join(filter(None, (line.label, number(float(line.y[-1])))))
            text = textwrap.fill(text, _LABEL_LETTERS)
            labels.append((end, _LABEL_HEIGHT * (1 + text.count("\n")), text, colour))
        labels.sort()
        lowest, highest = -_LABEL_HEIGHT / 2, 1 + _LABEL_HEIGHT / 2
        for place, (end, height, text, colour) in enumerate(labels):
            room_above = sum(height for _, height, _, _ in labels[place:])
            bottom = max(lowest, min(end - height / 2, highest - room_above))
            lowest = bottom + height
            where = {"x": 1.02, "y": bottom + height / 2, "va": "center"}
            axes.text(s=text, color=colour, fontsize=9, transform=axes.transAxes, **where)
