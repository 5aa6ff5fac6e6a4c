"""Clips per second of the training data, beside what they could cost at least and at most.

The contenders:
  loader               the batches that training gets
  loader_all_frames    the same clips, with all T of their frames decoded
  jpeg_decoding        the JPEG frames of the first one's clips, decoded from memory: the limit
  tf_data_all_frames   a plain tf.data pipeline that decodes all T frames of a clip
  tf_data              one that decodes only key and target frames, each once

With config.data.flip, tf.data mirrors half of its clips, as pipelines do; the loader marks them,
and the devices mirror them. "Per core" is per second of processor time, that of all threads and
processes added up.

Dimensions: T clip frames.
"""

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

from glober_jax.benchmarking.contenders import (
    Batches,
    FirstVideos,
    JpegDecoding,
    Setup,
    all_frames,
    tensorflow_version,
    tf_data,
)
from glober_jax.benchmarking.machine import machine
from glober_jax.benchmarking.rounds import Contender, Cost, cost_of, measure
from glober_jax.data.source import open_videos
from glober_jax.experiment import Experiment
from glober_jax.progress import Progress

_ROUNDS = 10
_TITLES = {
    "loader": "loader",
    "loader_all_frames": "loader, all frames of a clip",
    "jpeg_decoding": "JPEG decoding alone",
    "tf_data_all_frames": "tf.data, all frames of a clip",
    "tf_data": "tf.data, frames needed",
}
_NO_TENSORFLOW = (
    "not measured, TensorFlow is not installed: python -m pip install -r "
    "requirements-tensorflow.txt"
)
_PACKAGES = ("array_record", "grain", "numpy", "simplejpeg", "tensorflow-datasets")


def benchmark_data(
    experiment: Experiment, *, seconds: float, batch_size: int, max_videos: int
) -> dict[str, Any]:
    """Measures all contenders on the training split of the experiment's data set.

    Args:
      experiment: says where the data set is, what a clip is, and how to read.
      seconds: how long to measure each contender, without what prepares it.
      batch_size: clips in a batch.
      max_videos: how many videos to use, from the beginning of the split; they should fit into
        memory, for it is not the disk that is measured.

    Returns:
      `measured`: each contender's rates, medians over the rounds. `ratios`: the loader's clips per
      core-second by another's, medians of the rounds' own. And what it takes to measure again.

    Raises:
      UserError: the data set is missing or damaged, or its videos do not fit the config.
    """
    # Clips of one stride: tf.data makes no others.
    experiment = replace(experiment, clip=replace(experiment.clip, max_stride=0))
    videos = FirstVideos(open_videos(experiment.data.dir, "train"), max_videos)
    setup = Setup(experiment, videos, batch_size)
    batches = _batches_per_round(setup, seconds / _ROUNDS)
    decoding = JpegDecoding(setup)
    with tempfile.TemporaryDirectory(prefix="glober_jax_benchmark_") as folder:
        contenders: dict[str, Contender] = {
            "loader": Batches(setup.loader(experiment.clip), setup.in_flight),
            "loader_all_frames": Batches(
                setup.loader(all_frames(experiment.clip)), setup.in_flight
            ),
            "jpeg_decoding": decoding,
            **tf_data(setup, Path(folder)),
        }
        with Progress("measuring", _ROUNDS * len(contenders), unit="run") as progress:
            costs = measure(contenders, batches=batches, rounds=_ROUNDS, on_run=progress.advance)
    few, every = decoding.num_frames / decoding.num_clips, float(experiment.clip.num_frames)
    frames = {name: every if name.endswith("all_frames") else few for name in contenders}
    frame_bytes = decoding.num_bytes / decoding.num_frames
    return {
        "measured": {
            name: _rates(costs[name], batch_size, frames[name], frame_bytes) for name in contenders
        },
        "ratios": {
            f"loader / {name}": median(
                other.cpu / loader.cpu
                for loader, other in zip(costs["loader"], costs[name], strict=True)
            )
            for name in contenders
            if name != "loader"
        },
        "tensorflow": tensorflow_version() or _NO_TENSORFLOW,
        "rounds": _ROUNDS,
        "batches_per_round": batches,
        "batch_size": batch_size,
        "dataset": _facts(videos),
        "config": {
            "data": asdict(experiment.data),
            "clip": asdict(experiment.clip),
            "frame_size": experiment.networks.frame_size,
            "seed": experiment.seed,
        },
        **machine(_PACKAGES),
    }


def table(report: Mapping[str, Any]) -> str:
    """The figures of a report, for people."""
    lines = [f"{'':30}{'frames':>7}{'clips/s':>9}{'clips/s per core':>18}{'frames/s per core':>19}"]
    for name, rates in report["measured"].items():
        lines.append(
            f"{_TITLES[name]:30}{rates['frames_per_clip']:7.2f}{rates['clips_per_second']:9.1f}"
            f"{rates['clips_per_core_second']:18.1f}{rates['frames_per_core_second']:19.0f}"
        )
    if "tf_data" not in report["measured"]:
        lines.append(f"{'tf.data':30}{report['tensorflow']}")
    lines.append("loader's clips/s per core, divided by those of")
    for name, ratio in report["ratios"].items():
        lines.append(f"  {_TITLES[name.removeprefix('loader / ')]:30}{ratio:5.2f}")
    return "\n".join(lines)


def _batches_per_round(setup: Setup, seconds: float) -> int:
    """How many batches the loader makes in that time, at least one."""
    with contextlib.closing(setup.loader(setup.experiment.clip)) as loader:
        contender = Batches(loader, setup.in_flight)
        contender.get_ready(1)
        return max(round(seconds / cost_of(contender, setup.in_flight).wall), 1)


def _rates(
    costs: Sequence[Cost], batch_size: int, frames_per_clip: float, frame_bytes: float
) -> dict[str, float]:
    clips = median(batch_size / cost.wall for cost in costs)
    clips_per_core = median(batch_size / cost.cpu for cost in costs)
    return {
        "frames_per_clip": frames_per_clip,
        "clips_per_second": clips,
        "clips_per_core_second": clips_per_core,
        "frames_per_second": clips * frames_per_clip,
        "frames_per_core_second": clips_per_core * frames_per_clip,
        "jpeg_bytes_per_second": clips * frames_per_clip * frame_bytes,
    }


def _facts(videos: FirstVideos) -> dict[str, Any]:
    """What the videos measured on are like."""
    sizes = [
        list(map(len, video.jpegs(range(video.num_frames))))
        for video in map(videos.__getitem__, range(len(videos)))
    ]
    frames = sum(map(len, sizes))
    return {
        "split": "train",
        "fingerprint": videos.fingerprint,
        "videos": len(videos),
        "videos_in_split": len(videos.source),
        "frames_per_video": frames / len(videos),
        "jpeg_bytes_per_frame": sum(map(sum, sizes)) / frames,
    }
