"""The report of a workdir: its evaluations, its curves, and clips that play.

Dimension key: N clips, T frames, H, W frame size, C colours.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from glober_jax.evaluation import results
from glober_jax.evaluation.results import Result
from glober_jax.reporting.report.clips import Clips
from glober_jax.reporting.report.page import Report, write_report
from glober_jax.training.metrics import METRICS_FILE, read_metrics
from glober_jax.training.packaged_model import results_folder

REPORT = "report.html"


def write_workdir_report(
    workdir: epath.PathLike,
    first: Result | None,
    samples: Mapping[str, Clips],
    reconstruction: Mapping[str, np.ndarray],
    config: Mapping[str, Any],
    fps: float,
) -> epath.Path:
    """Writes `WORKDIR/report.html` and returns its path.

    Args:
      workdir: what was trained; its metrics and the results of its other evaluations are shown too.
      first: the result that is shown in full, where there is one.
      samples: generated and real clips.
      reconstruction: the same clips in several versions, uint8 [N, T, H, W, C].
      config: the experiment's.
      fps: frames per second of all clips.

    Raises:
      UserError: a result in the workdir is damaged, or the report cannot be written.
    """
    workdir = results_folder(workdir)
    others = [
        result
        for path in sorted((workdir / results.FOLDER).glob("*.json"))
        if (result := results.read(path)) != first
    ]
    path = workdir / REPORT
    write_report(
        path,
        Report(
            title=workdir.resolve().name,
            results=[*([first] if first else []), *others],
            samples=samples,
            reconstruction=reconstruction,
            metrics=read_metrics(workdir / "logs" / METRICS_FILE),
            config=config,
            fps=fps,
        ),
    )
    return path
