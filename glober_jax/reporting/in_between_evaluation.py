"""The evaluation of a model that was trained on every second frame, on all of them.

Dimension key: T frames of the model's clip, U = 2 T - 1 frames at twice its rate.
"""

import dataclasses
import time
from typing import Any

from etils import epath

from glober_jax.errors import UserError
from glober_jax.evaluation import in_between, measuring
from glober_jax.evaluation.evaluating import choose, real_clips
from glober_jax.evaluation.metrics import frame_quality
from glober_jax.evaluation.protocols import Protocol, fitted
from glober_jax.evaluation.video_io import prepared_videos
from glober_jax.experiment import Experiment
from glober_jax.reporting.model_evaluation import check_size, model_record
from glober_jax.reporting.trained_clips import TrainedModel, in_between_clips
from glober_jax.versions import versions


def evaluate_in_between(
    experiment: Experiment,
    model: TrainedModel,
    protocol: Protocol,
    data_dir: str,
    folder: epath.PathLike | None,
    seed: int,
    command: str,
) -> dict[str, Any]:
    """How well frames between those of the training grid are decoded, beside those on it.

    Args:
      experiment: the model's.
      model: trained on every second frame of the videos.
      protocol: says how many clips; they are centre clips of test videos.
      data_dir: a prepared data set with all their frames.
      folder: where measures are kept, see `measuring.measure`.
      seed: of the decoder's noise.
      command: for the record.

    Returns:
      A record for JSON, `frames` being that of `in_between.record`.

    Raises:
      UserError: there is no data set, of the model's frame size and with a test video of U frames
        or more; or a package is missing.
    """
    start = time.monotonic()
    clip, size = experiment.clip, experiment.networks.frame_size
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
    if not videos.long_enough(protocol.min_length):
        raise UserError(
            f"the videos of {videos.source} have at most {max(videos.lengths)} frames, and a clip "
            f"of this model with the frames between its own takes {protocol.min_length}: give data "
            "with all frames, of longer videos"
        )
    protocol = fitted(protocol, videos.lengths)
    real = real_clips(protocol, videos, choose(protocol, videos))
    quality = frame_quality.frame_measures(size, frame_quality.metrics_of(size))
    pairs = in_between_clips(model, real, clip, seed)
    measured = measuring.measure(pairs, in_between.instrument(quality), folder)
    return {
        "protocol": dataclasses.asdict(protocol),
        "frames": in_between.record(measured),
        "num_clips": real.num_clips,
        "model": model_record(model, seed),
        "data": {"real": {"source": videos.source, "fingerprint": videos.fingerprint}},
        "versions": versions(),
        "command": command,
        "seconds": round(time.monotonic() - start, 1),
    }
