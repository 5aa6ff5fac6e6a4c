"""Quality of frames between those that a model was trained on.

A model that was trained on every second frame of its videos decodes a clip at twice that rate: T
frames as in training, on its grid, and T - 1 between them that it never saw. Those are compared
with real ones, beside what needs no model: the mean of their two decoded neighbours.

Dimension key: N, B clips, T frames of the model's clip, U = 2 T - 1 frames at twice the rate, H, W
frame size, C colours. Frames are uint8.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from glober_jax.evaluation import reconstruction, scoring
from glober_jax.evaluation.measuring import FeatureExtractor, Measures
from glober_jax.evaluation.metrics import frame_quality
from glober_jax.evaluation.metrics.frame_quality import FrameMeasure, Metric
from glober_jax.evaluation.tables import aligned

_INTERPOLATED = "interpolated_"
_LABELS = {
    "grid": "on the grid, seen in training",
    "between": "between, never seen",
    "interpolated": "between, mean of the decoded neighbours",
}


def interpolate_between(made_NUHWC: np.ndarray) -> np.ndarray:
    """The mean of both neighbours of every odd frame, rounded: uint8 [N, T - 1, H, W, C]."""
    length = made_NUHWC.shape[1]
    grid_T = np.arange(0, length, 2)
    return reconstruction.interpolate(made_NUHWC[:, grid_T], grid_T, length)[:, 1::2]


def instrument(quality: Mapping[Metric, FrameMeasure]) -> FeatureExtractor:
    """Of made clips beside real ones [B, 2, U, H, W, C]: the metrics of `quality`, float64.

    NAME is [B, U], of all made frames; interpolated_NAME is [B, T - 1], of what
    `interpolate_between` makes of these, against the real frames between.
    """

    def measure(pairs_B2UHWC: np.ndarray) -> Measures:
        made_BUHWC, real_BUHWC = pairs_B2UHWC[:, 0], pairs_B2UHWC[:, 1]
        between = frame_quality.measure_clips(
            quality, interpolate_between(made_BUHWC), real_BUHWC[:, 1::2]
        )
        return frame_quality.measure_clips(quality, made_BUHWC, real_BUHWC) | {
            f"{_INTERPOLATED}{name}": values for name, values in between.items()
        }

    return FeatureExtractor({"in_between": list(quality)}, measure)


def record(measured: Measures) -> dict[str, Any]:
    """{"grid", "between", "interpolated"}, each by metric as `scoring.quality` has it."""
    made = {name: values for name, values in measured.items() if not name.startswith(_INTERPOLATED)}
    groups = {
        "grid": {name: values_NU[:, ::2] for name, values_NU in made.items()},
        "between": {name: values_NU[:, 1::2] for name, values_NU in made.items()},
        "interpolated": {name: measured[f"{_INTERPOLATED}{name}"] for name in made},
    }
    return {name: scoring.quality(values) for name, values in groups.items()}


def for_people(record: Mapping[str, Any]) -> str:
    """The table of `record`: PSNR, and LPIPS where it was measured, with standard errors."""
    columns = {"psnr_db": ("PSNR in dB", 2), "lpips": ("LPIPS", 4)}
    shown = {name: column for name, column in columns.items() if name in record["grid"]}
    rows = [["frames", *(label for label, _ in shown.values())]]
    for group, label in _LABELS.items():
        entries = [(record[group][name], digits) for name, (_, digits) in shown.items()]
        rows.append([label, *(_cell(entry, digits) for entry, digits in entries)])
    return "\n".join(aligned(rows))


def _cell(entry: Mapping[str, Any], digits: int) -> str:
    error = entry["standard_error"]
    return f"{entry['value']:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")
