"""Training curves of a run's metrics file."""

import dataclasses
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from matplotlib.figure import Figure

from glober_jax import media
from glober_jax.reporting.report.charts import Chart, Line
from glober_jax.training.metric_writer import read_metrics

# Title and unit of a panel, and its metrics; the last match counts.
_PANELS = (
    ("Losses", "loss", r"loss"),
    ("Adversarial losses", "loss", r"(adv|disc|hinge).*loss|(^|[_/])[dg]_loss"),
    ("KL divergence", "nats per clip", r"kl"),
    ("PSNR", "dB", r"psnr"),
    ("LPIPS", "LPIPS, lower is better", r"lpips"),
    ("Gradient norm", "norm", r"grad_norm"),
)
_LINES_PER_PANEL = 5
_PANEL_INCHES = (4.6, 3.2)
_SMOOTHED_FRACTION = 0.08
_DRAWN_POINTS = 300
# The least ratio of largest to smallest value for a log axis.
_LOG_RATIO = 4.0


def plot_curves(metrics_jsonl: epath.PathLike, output_png: epath.PathLike) -> None:
    """Writes `training_charts` as one PNG, with a row for each stage; nothing without metrics.

    Runs whose stages were all converted have none.
    """
    rows = training_charts(read_metrics(metrics_jsonl))
    if not rows:
        return
    columns = max(map(len, rows.values()))
    width, height = _PANEL_INCHES
    figure = Figure((width * columns, height * len(rows)), dpi=120, layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes_row, (stage, charts) in zip(grid, rows.items(), strict=True):
        for axes, chart in zip(axes_row, charts, strict=False):
            dataclasses.replace(chart, title=f"{stage}: {chart.title}").draw(axes)
        for axes in axes_row[len(charts) :]:
            axes.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    media.write_file(output_png, buffer.getvalue())


def training_charts(records: Sequence[Mapping[str, Any]]) -> dict[str, list[Chart]]:
    """Charts of all losses, PSNR, LPIPS, KL and gradient norms over steps, by stage.

    Each metric is a light line as logged and a strong smoothed one. Positive values over more than
    a factor 4, except PSNR, have a log axis.
    """
    # By stage and metric, the value of each step.
    stages: dict[str, dict[str, dict[int, float]]] = {}
    for record in records:
        curves = stages.setdefault(record["stage"], {})
        for name, value in record.items():
            # Values that are not finite are null.
            if isinstance(value, int | float) and _panel_of(name):
                curves.setdefault(name, {})[record["step"]] = value
    return {stage: charts for stage, curves in stages.items() if (charts := _charts(curves))}


def _panel_of(name: str) -> str | None:
    found = [title for title, _, pattern in _PANELS if re.search(pattern, name)]
    return found[-1] if found else None


def _charts(curves: Mapping[str, Mapping[int, float]]) -> list[Chart]:
    charts = []
    for title, unit, _ in _PANELS:
        names = sorted(name for name in curves if _panel_of(name) == title)
        for start in range(0, len(names), _LINES_PER_PANEL):
            lines = [_line(name, curves[name]) for name in names[start:][:_LINES_PER_PANEL]]
            values = np.concatenate([line.faint for line in lines])
            log_y = title != "PSNR" and 0 < _LOG_RATIO * values.min() < values.max()
            axes = {"x_label": "step", "y_label": unit, "log_y": log_y}
            charts.append(Chart(title=title, lines=lines, **axes))
    return charts


def _line(name: str, by_step: Mapping[int, float]) -> Line:
    """A metric and its centred moving mean over 8 % of the points, thinned to 300 points."""
    steps, values = np.array(sorted(by_step.items()), np.float64).T
    half = int(len(values) * _SMOOTHED_FRACTION / 2)
    # At the ends the window is cut off on one side only, which leaves less noise there.
    sums = np.concatenate([[0.0], np.cumsum(values)])
    middle = np.arange(len(values))
    first, last = np.maximum(middle - half, 0), np.minimum(middle + half + 1, len(values))
    smooth = (sums[last] - sums[first]) / (last - first)
    shown = np.unique(np.linspace(0, len(values) - 1, _DRAWN_POINTS).round().astype(int))
    label = name.removeprefix("grad_norm_").replace("_", " ")
    return Line(label=label, x=steps[shown], y=smooth[shown], faint=values[shown])
