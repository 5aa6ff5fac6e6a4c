"""Writes one run as one HTML file, without the sections that have no content.

Dimension key: N clips, T frames, H, W frame size, C = 3 colours (RGB).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from etils import epath
from jinja2 import Environment, PackageLoader

from glober_jax import media
from glober_jax.evaluation import results
from glober_jax.evaluation.results import Result
from glober_jax.reporting.curves import training_charts
from glober_jax.reporting.report import all_evaluations, scores
from glober_jax.reporting.report.charts import Chart, Line
from glober_jax.reporting.report.wording import duration
from glober_jax.training.metric_writer import METRICS_FILE, read_metrics
from glober_jax.training.packaged_model import results_folder

REPORT = "report.html"
SUMMARY = "summary.json"
# Small frames are enlarged to this many pixels; see `data_uri`.
_ENLARGED_TO = 128


@dataclass(frozen=True, kw_only=True)
class Report:
    """The content of the page; every part but the title may be missing.

    Attributes:
      results: of evaluations, see `evaluation.results`; the first one is shown in full.
      samples: clips by kind, such as generated and real, uint8 [N, T, H, W, C].
      labels: a text for each clip of some kinds of `samples`.
      reconstruction: versions of the same clips by name, uint8 [N, T, H, W, C].
      metrics: rows of `logs/metrics.jsonl`.
      summary: `summary.json`.
      fps: frames per second of every clip.
    """

    title: str
    results: Sequence[Mapping[str, Any]] = ()
    samples: Mapping[str, np.ndarray] = field(default_factory=dict)
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    reconstruction: Mapping[str, np.ndarray] = field(default_factory=dict)
    metrics: Sequence[Mapping[str, Any]] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    fps: float = 8.0


def write_workdir_report(
    workdir: epath.PathLike, first: Result | None, **content: Any
) -> epath.Path:
    """Writes `WORKDIR/report.html` with the workdir's results and logs, and returns its path.

    Shows the result `first` in full, if there is one; `content` are other fields of `Report`.
    """
    workdir = results_folder(workdir)
    stored = [results.read(path) for path in sorted((workdir / results.FOLDER).glob("*.json"))]
    others = [result for result in stored if result != first]
    summary = workdir / SUMMARY
    report = Report(
        title=workdir.resolve().name,
        results=[first, *others] if first else others,
        metrics=read_metrics(workdir / "logs" / METRICS_FILE),
        summary=json.loads(summary.read_text()) if summary.exists() else {},
        **content,
    )
    write_report(workdir / REPORT, report)
    return workdir / REPORT


def write_report(path: epath.PathLike, report: Report) -> None:
    """Writes the page, with style, script, charts and videos inside."""
    result = report.results[0] if report.results else {}
    kinds = result.get("reconstruction", {}).get("kinds", {})
    loader, blocks = PackageLoader(__package__, "."), {"trim_blocks": True, "lstrip_blocks": True}
    # Escapes everything but the SVG of charts, in which matplotlib escapes texts.
    template = Environment(loader=loader, autoescape=True, **blocks).get_template("report.html")
    html = template.render(
        report=report,
        result=result,
        summary=report.summary,
        headlines=scores.headlines(result, report.summary, report.metrics),
        kinds=kinds,
        charts_by_frame=_charts_by_frame(kinds),
        training=training_charts(report.metrics),
        sweep=all_evaluations,
        tables=scores,
        data_uri=data_uri,
        duration=duration,
        json=lambda value: json.dumps(value, indent=2, ensure_ascii=False, default=str),
    )
    # File names may not be valid Unicode.
    media.write_file(path, html.encode(errors="replace"))


def data_uri(clip_THWC: np.ndarray, fps: float) -> str:
    """An MP4 of a clip uint8 [T, H, W, C], as the `src` of a `<video>`.

    H.264 in browsers halves the resolution of colour, so the pixels of small frames are enlarged
    to squares: at 32 pixels a PSNR of 42 dB instead of 34.
    """
    scale = max(1, _ENLARGED_TO // min(clip_THWC.shape[1:3]))
    enlarged_THWC = clip_THWC.repeat(scale, axis=1).repeat(scale, axis=2)
    return media.mp4_data_uri(enlarged_THWC, fps)


def _charts_by_frame(kinds: Mapping[str, Mapping[str, Any]]) -> list[Chart]:
    """A chart for each measure by index in the clip, with a line for each kind."""
    charts = []
    for name, heading, unit in (
        ("psnr_db", "PSNR by frame", "dB, higher is better"),
        ("ssim", "SSIM by frame", "higher is better"),
        ("lpips", "LPIPS by frame", "lower is better"),
    ):
        lines = [
            Line(label=kind, x=np.arange(len(values)), y=np.array(values))
            for kind, section in kinds.items()
            if (values := section.get(name, {}).get("by_index"))
        ]
        if lines:
            x_label = "frame of the clip"
            charts.append(Chart(title=heading, x_label=x_label, y_label=unit, lines=lines))
    return charts
