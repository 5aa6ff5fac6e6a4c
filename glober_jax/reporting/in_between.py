"""Quality of frames between those that a model was trained on.

A model trained on every second frame decodes a clip at twice that rate: T frames on the grid of
training, and T - 1 between them. Both are compared with real ones, beside a baseline: the mean of
the two decoded neighbours.

Dimension key: N, B clips, T frames of the model's clip, U = 2 T - 1 frames at twice the rate, H, W
frame size, C colours. Frames are uint8.
"""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from glober_jax.evaluation import measuring, results, scoring
from glober_jax.evaluation.evaluating import choose, real_clips
from glober_jax.evaluation.measuring import FeatureExtractor, Measures
from glober_jax.evaluation.metrics.frame_quality import (
    FrameMeasure,
    Metric,
    frame_measures,
    measure_clips,
    metrics_of,
)
from glober_jax.evaluation.protocols import Protocol, fitted
from glober_jax.evaluation.tables import aligned
from glober_jax.evaluation.video_io import prepared_videos
from glober_jax.experiment.options import Experiment
from glober_jax.reporting.model_evaluation import check_length, check_size, model_record
from glober_jax.reporting.trained_clips import TrainedModel, encoded_and_decoded, interpolate

_INTERPOLATED = "interpolated_"
_LABELS = {
    "grid": "on the grid, seen in training",
    "between": "between, never seen",
    "interpolated": "between, mean of the decoded neighbours",
}


def evaluate_in_between(
    experiment: Experiment,
    model: TrainedModel,
    protocol: Protocol,
    data_dir: str,
    folder: epath.PathLike | None,
    seed: int,
    command: str,
) -> dict[str, Any]:
    """A record whose `frames` are `by_group` of reconstructed centre clips of test videos.

    Args:
      experiment: the model's.
      model: trained on every second frame of the videos.
      protocol: its number of clips counts.
      data_dir: a prepared data set with all frames; raises `UserError` where it does not fit.
      folder: of stored measures, see `measuring.measure`.
      seed: of the decoder's noise.
      command: for the record.
    """
    start = time.monotonic()
    clip = experiment.clip
    videos = prepared_videos(data_dir, "test")
    check_size(videos, experiment)
    protocol = dataclasses.replace(
        protocol,
        num_frames=2 * clip.num_frames - 1,
        stride=clip.stride,
        split="test",
        start="centre",
        repeat_videos=False,
    )
    kind, advice = "with the frames between its own ", "give data with all frames, of longer videos"
    check_length(videos, protocol, kind, advice)
    protocol = fitted(protocol, len(videos.long_enough(protocol.min_length)))
    real = real_clips(protocol, videos, choose(protocol, videos))
    extractor = quality_extractor(frame_measures(metrics_of(experiment.networks.frame_size)))
    pairs = encoded_and_decoded("between", model, real, seed, clip, finer=2)
    measured = measuring.measure(pairs, extractor, folder)
    return results.build(
        protocol,
        frames=by_group(measured),
        num_clips=real.num_clips,
        model=model_record(model, seed),
        data={"real": {"source": videos.source, "fingerprint": videos.fingerprint}},
        notes=[],
        command=command,
        seconds=time.monotonic() - start,
    )


def quality_extractor(quality: Mapping[Metric, FrameMeasure]) -> FeatureExtractor:
    """The metrics of `quality`, float64, for pairs (made, real) [B, 2, U, H, W, C].

    NAME [B, U] is of all frames; interpolated_NAME [B, T - 1] of the means of made neighbours,
    against the real frames between them.
    """

    def measure(pairs_B2UHWC: np.ndarray) -> Measures:
        made_BUHWC, real_BUHWC = pairs_B2UHWC[:, 0], pairs_B2UHWC[:, 1]
        length = made_BUHWC.shape[1]
        means = interpolate(made_BUHWC[:, ::2], np.arange(0, length, 2), length)[:, 1::2]
        between = measure_clips(quality, means, real_BUHWC[:, 1::2])
        return measure_clips(quality, made_BUHWC, real_BUHWC) | {
            f"{_INTERPOLATED}{name}": values for name, values in between.items()
        }

    return FeatureExtractor({"in_between": list(quality)}, measure)


def by_group(measured: Measures) -> dict[str, Any]:
    """`scoring.quality` of frames on the "grid", "between", and "interpolated" ones."""
    made = {name: values for name, values in measured.items() if not name.startswith(_INTERPOLATED)}
    groups = {
        "grid": {name: values_NU[:, ::2] for name, values_NU in made.items()},
        "between": {name: values_NU[:, 1::2] for name, values_NU in made.items()},
        "interpolated": {name: measured[f"{_INTERPOLATED}{name}"] for name in made},
    }
    return {name: scoring.quality(values) for name, values in groups.items()}


def groups_text(groups: Mapping[str, Any]) -> str:
    """The table of `by_group`: PSNR, and LPIPS if measured, with standard errors."""
    columns = {"psnr_db": ("PSNR in dB", 2), "lpips": ("LPIPS", 4)}
    shown = {name: column for name, column in columns.items() if name in groups["grid"]}
    rows = [["frames", *(label for label, _ in shown.values())]]
    for group, label in _LABELS.items():
        cells = []
        for name, (_, digits) in shown.items():
            value, error = (groups[group][name][key] for key in ("value", "standard_error"))
            spread = "" if error is None else f" ± {error:.{digits}f}"
            cells.append(f"{value:.{digits}f}{spread}")
        rows.append([label, *cells])
    return "\n".join(aligned(rows))
