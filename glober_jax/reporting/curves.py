"""Training curves as a picture, drawn from a run's metrics file alone."""

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from glober_jax import media
from glober_jax.errors import UserError
from glober_jax.training.metrics import read_metrics

# Panel title, and what a metric's name must hold to be drawn there; the first match wins.
_PANELS = (
    ("gradient norm", re.compile(r"grad_norm")),
    ("PSNR (dB)", re.compile(r"psnr")),
    ("LPIPS", re.compile(r"lpips")),
    ("KL", re.compile(r"kl")),
    ("adversarial losses", re.compile(r"(adv|disc|hinge).*loss|(^|[_/])[dg]_loss")),
    ("losses", re.compile(r"loss")),
)
# Losses first, as people read from the left.
_PANEL_ORDER = ("losses", "adversarial losses", "KL", "PSNR (dB)", "LPIPS", "gradient norm")
_LINES_PER_PANEL = 5
_PANEL_INCHES = (4.6, 3.2)
_SMOOTHED_FRACTION = 0.08
# Below this ratio of largest to smallest a log axis has no labelled ticks worth reading.
_LOG_RATIO = 4.0

Curve = tuple[np.ndarray, np.ndarray]


def plot_curves(metrics_jsonl: epath.PathLike, output_png: epath.PathLike) -> None:
    """Draws every loss, PSNR, LPIPS, KL and gradient norm over steps, one row of panels per stage.

    Each metric is a light line as logged and a strong one smoothed (centred moving mean over
    8 % of its points); values that were not finite are left out. A panel of only positive
    values spanning more than a factor 4 has a log axis, except PSNR.

    Args:
      metrics_jsonl: file written by `MetricsWriter`; torn lines are skipped.
      output_png: where to write the picture (120 dots per inch).

    Raises:
      UserError: there is nothing to plot, or the picture cannot be written.
    """
    rows = group_curves(read_metrics(metrics_jsonl))
    if not rows:
        raise UserError(f"no losses to plot in {metrics_jsonl}; train at least one step first")
    columns = max(len(panels) for panels in rows.values())
    width, height = _PANEL_INCHES
    figure = Figure(figsize=(width * columns, height * len(rows)), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes_row, (stage, panels) in zip(grid, rows.items(), strict=True):
        for axes, (title, curves) in zip(axes_row, panels, strict=False):
            log_axis = has_log_axis(title, curves)
            _draw_panel(axes, f"{stage}: {title}", curves, log_axis=log_axis)
        for axes in axes_row[len(panels) :]:
            axes.set_axis_off()
    buffer = io.BytesIO()
    figure.set_dpi(120)
    canvas.print_png(buffer)
    media.write_file(output_png, buffer.getvalue())


def group_curves(
    records: Sequence[dict[str, Any]],
) -> dict[str, list[tuple[str, dict[str, Curve]]]]:
    """What is worth drawing of a metrics file: by stage, panels of (title, curves by name).

    A curve is (steps, values), float64 [points] each, finite, by rising step. A crowded panel
    becomes several of at most five curves; stages without any are left out.
    """
    stages: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        stages.setdefault(record["stage"], []).append(record)
    rows = {stage: _group_by_panel(_curves(records)) for stage, records in stages.items()}
    return {stage: panels for stage, panels in rows.items() if panels}


def has_log_axis(title: str, curves: dict[str, Curve]) -> bool:
    """Whether values of a panel span so much, all positive, that a log axis shows them better."""
    every = np.concatenate([values for _, values in curves.values()])
    return title != "PSNR (dB)" and every.min() > 0 and every.max() > _LOG_RATIO * every.min()


def smooth(steps: np.ndarray, values: np.ndarray) -> Curve:
    """Centred moving mean over 8 % of a curve's points."""
    half = int(len(values) * _SMOOTHED_FRACTION / 2)
    if half == 0:
        return steps, values
    # At the ends the window is cut off rather than shrunk: less noise where people look most.
    sums = np.concatenate([[0.0], np.cumsum(values)])
    middle = np.arange(len(values))
    first = np.maximum(middle - half, 0)
    last = np.minimum(middle + half + 1, len(values))
    return steps, (sums[last] - sums[first]) / (last - first)


def _curves(records: Sequence[dict[str, Any]]) -> dict[str, Curve]:
    """Name to (steps, values), float64 [points] each, finite, by rising step."""
    points: dict[str, dict[int, float]] = {}
    for record in records:
        for name, value in record.items():
            if isinstance(value, int | float) and _panel_of(name) is not None:
                points.setdefault(name, {})[record["step"]] = value
    curves = {}
    for name, by_step in points.items():
        steps = np.array(sorted(by_step), np.float64)
        curves[name] = (steps, np.array([by_step[step] for step in sorted(by_step)], np.float64))
    return curves


def _panel_of(name: str) -> str | None:
    return next((title for title, pattern in _PANELS if pattern.search(name)), None)


def _group_by_panel(curves: dict[str, Curve]) -> list[tuple[str, dict[str, Curve]]]:
    """(title, curves) per panel; a crowded panel becomes several of at most five lines."""
    panels = []
    for title in _PANEL_ORDER:
        names = sorted(name for name in curves if _panel_of(name) == title)
        for start in range(0, len(names), _LINES_PER_PANEL):
            chosen = names[start : start + _LINES_PER_PANEL]
            panels.append((title, {name: curves[name] for name in chosen}))
    return panels


def _draw_panel(axes: Axes, title: str, curves: dict[str, Curve], log_axis: bool) -> None:
    for number, (name, (steps, values)) in enumerate(curves.items()):
        color = f"C{number}"
        # A metric logged once or a few times (an evaluation) would be invisible as a line.
        marker = "o" if len(values) < 10 else None
        axes.plot(steps, values, color=color, alpha=0.25, linewidth=0.8)
        axes.plot(*smooth(steps, values), color=color, marker=marker, markersize=3, label=name)
    if log_axis:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("step", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False)
