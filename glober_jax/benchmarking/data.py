"""Clips per second of the training data, beside what they could cost at least and at most.

The contenders, of which ours draw the same clips, and tf.data its own by the same rule:
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

import importlib.util
import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from glober_jax.benchmarking.report import machine, markdown_table
from glober_jax.benchmarking.timing import Contender, measure, ratio, timing
from glober_jax.data.frames import decode_jpeg
from glober_jax.data.loader import training_batches
from glober_jax.data.source import StoredVideo, StoredVideos, open_videos
from glober_jax.experiment import Experiment

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
_PACKAGES = ("array_record", "grain", "simplejpeg", "tensorflow-datasets")


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
      `measured`: each contender's timing and rates. `ratios`: the loader's clips per core-second
      by another's, medians of the rounds' own. And what it takes to measure again.

    Raises:
      UserError: the data set is missing or damaged, or its videos do not fit the config.
    """
    # Clips of one stride: tf.data makes no others.
    clip = replace(experiment.clip, max_stride=0)
    source = open_videos(experiment.data.dir, "train")
    videos = _FirstVideos(source, max_videos)
    data, frame_size = experiment.data, experiment.networks.frame_size
    # Batches that may be finished or begun before the first one is taken.
    in_flight = 1 + data.workers * (data.prefetch + 5) if data.workers else data.prefetch + 2
    threads = max(data.workers, 1) * max(data.threads, 1)
    batches = partial(training_batches, batch_size=batch_size, seed=experiment.seed)
    loader = partial(
        batches,
        videos,
        flip=data.flip,
        frame_size=frame_size,
        workers=data.workers,
        threads=data.threads,
        prefetch=data.prefetch,
    )
    every_frame = replace(clip, num_key_frames=0, num_target_frames=clip.num_frames)
    decoding = JpegDecoding(
        lambda videos: batches(videos, clip, threads=0), videos, threads, in_flight
    )
    with tempfile.TemporaryDirectory(prefix="glober_jax_benchmark_") as folder:
        contenders = {
            "loader": _taken(loader(clip), in_flight),
            "loader_all_frames": _taken(loader(every_frame), in_flight),
            "jpeg_decoding": Contender(decoding.run, decoding.prepare),
        }
        if importlib.util.find_spec("tensorflow"):
            from glober_jax.benchmarking.tf_data import tf_batches, write_tfrecords

            path = Path(folder) / "videos.tfrecord"
            write_tfrecords((videos[index] for index in range(len(videos))), path)
            pipeline = partial(
                tf_batches,
                path,
                clip,
                batch_size=batch_size,
                frame_size=frame_size,
                flip=data.flip,
                threads=threads,
                prefetch=data.prefetch,
            )
            contenders |= {
                "tf_data_all_frames": _taken(pipeline(all_frames=True), in_flight),
                "tf_data": _taken(pipeline(all_frames=False), in_flight),
            }
        costs = measure(contenders, seconds=seconds, rounds=_ROUNDS, trial=in_flight)
    few = decoding.num_frames / decoding.num_clips
    frame_bytes = decoding.num_bytes / decoding.num_frames
    measured = {}
    for name in contenders:
        frames, figures = (
            clip.num_frames if name.endswith("all_frames") else few,
            timing(costs[name]),
        )
        rate = batch_size / figures["seconds"]
        core_rate = batch_size / figures["cpu_seconds"]
        measured[name] = {
            **figures,
            "frames_per_clip": frames,
            "clips_per_second": rate,
            "clips_per_core_second": core_rate,
            "frames_per_second": rate * frames,
            "frames_per_core_second": core_rate * frames,
            "jpeg_bytes_per_second": rate * frames * frame_bytes,
        }
    return {
        "measured": measured,
        "ratios": {
            f"loader / {name}": ratio(costs[name], costs["loader"], "cpu")
            for name in contenders
            if name != "loader"
        },
        "tensorflow": metadata.version("tensorflow") if "tf_data" in contenders else _NO_TENSORFLOW,
        "batch_size": batch_size,
        "dataset": _facts(videos),
        "config": {
            "data": asdict(data),
            "clip": asdict(clip),
            "frame_size": frame_size,
            "seed": experiment.seed,
        },
        **machine(_PACKAGES),
    }


def table(report: Mapping[str, Any]) -> str:
    """The figures of a report in Markdown."""
    ratios = {name: f"{report['ratios'].get(f'loader / {name}', 1):.2f}" for name in _TITLES}
    rows = [
        {
            "": _TITLES[name],
            "frames": f"{rates['frames_per_clip']:.2f}",
            "clips/s": f"{rates['clips_per_second']:.1f}",
            "clips/s per core": f"{rates['clips_per_core_second']:.1f}",
            "frames/s per core": f"{rates['frames_per_core_second']:.0f}",
            "loader's, divided by it": ratios[name],
        }
        for name, rates in report["measured"].items()
    ]
    if "tf_data" not in report["measured"]:
        rows.append({"": "tf.data", "clips/s": report["tensorflow"]})
    return markdown_table(rows)


class _FirstVideos:
    """At most `limit` videos of a source."""

    def __init__(self, source: StoredVideos, limit: int) -> None:
        self.source, self._length = source, min(limit, len(source))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> StoredVideo:
        return self.source[index]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)


class JpegDecoding:
    """Decodes the JPEG frames that the loader decodes for the same batches, and nothing else.

    They are in memory when that begins, and each frame's pixels are dropped at once. As many
    threads decode as the loader has: cores slow each other down.
    """

    def __init__(
        self,
        batches: Callable[["_NotingVideos"], Iterator[Any]],
        videos: _FirstVideos,
        threads: int,
        in_flight: int,
    ) -> None:
        self._clips: list[list[bytes]] = []
        self._threads = ThreadPoolExecutor(threads)
        self._in_flight = in_flight
        self._batches = batches(_NotingVideos(videos, self._clips))
        self.num_clips = self.num_frames = self.num_bytes = 0

    def prepare(self, repeats: int) -> None:
        _take(self._batches, self._in_flight)
        self._clips.clear()
        _take(self._batches, repeats)
        self.num_clips += len(self._clips)
        self.num_frames += sum(map(len, self._clips))
        self.num_bytes += sum(len(jpeg) for jpegs in self._clips for jpeg in jpegs)

    def run(self, repeats: int) -> None:
        size = len(self._clips) // repeats
        parts = [self._clips[first : first + size] for first in range(0, len(self._clips), size)]
        for _ in self._threads.map(_decode, parts):
            pass


def _decode(clips: Sequence[Sequence[bytes]]) -> None:
    for jpegs in clips:
        for jpeg in jpegs:
            decode_jpeg(jpeg)


def _taken(batches: Iterator[Any], in_flight: int) -> Contender:
    """A pipeline that works ahead: what is finished in advance is used up before it is timed."""
    return Contender(partial(_take, batches), lambda repeats: _take(batches, in_flight))


def _take(batches: Iterator[Any], count: int) -> None:
    for _ in itertools.islice(batches, count):
        pass


@dataclass(frozen=True)
class _NotingVideos:
    """Videos that note the JPEG frames asked for, clip by clip, and decode none."""

    videos: _FirstVideos
    clips: list[list[bytes]]

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> "_NotingVideo":
        return _NotingVideo(self.videos[index], self.clips)


class _NotingVideo:
    def __init__(self, video: StoredVideo, clips: list[list[bytes]]) -> None:
        self._video, self._clips = video, clips

    def __getattr__(self, name: str) -> Any:
        return getattr(self._video, name)

    def read_into(self, frame_ids: Sequence[int], out: Sequence[np.ndarray]) -> None:
        del out
        self._clips.append(self._video.jpegs(frame_ids))


def _facts(videos: _FirstVideos) -> dict[str, Any]:
    """What the videos measured on are like."""
    sizes = [
        [len(jpeg) for jpeg in videos[index].jpegs(range(videos[index].num_frames))]
        for index in range(len(videos))
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
