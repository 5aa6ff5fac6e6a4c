"""Clips per second of the loader, beside decoding alone and tf.data.

The contenders, all of which draw clips by the same rule:
  loader               the batches of training
  loader_all_frames    the same clips, with all T of their frames decoded
  jpeg_decoding        the JPEG frames of such clips, decoded from memory: the limit
  tf_data_all_frames   a plain tf.data pipeline that decodes all T frames of a clip
  tf_data              one that decodes only key and target frames, each once

With config.data.flip, tf.data mirrors half of its clips; the loader marks them, and the devices
mirror them. "Per core" is per second of processor time, over all threads and processes.

Dimensions: T clip frames.
"""

import importlib.util
import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from glober_jax.benchmarking.report import machine, markdown_table
from glober_jax.benchmarking.timing import Contender, clip_timing, measure, ratio
from glober_jax.data.clips import ClipSpec, sample_clip
from glober_jax.data.frames import decode_jpeg
from glober_jax.data.loader import training_batches
from glober_jax.data.source import StoredVideo, StoredVideos, open_videos
from glober_jax.experiment.options import Experiment

_ROUNDS = 10
_DECODED_BATCHES = 16
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


def benchmark(
    experiment: Experiment, *, seconds: float, batch_size: int, max_videos: int
) -> dict[str, Any]:
    """Measures all contenders on the training split of the experiment's data set.

    Each is measured for `seconds`, on the first `max_videos` videos, which should fit into memory,
    so that the disk is not measured. Returns `measured`, each contender's timing and rates;
    `ratios`, the loader's clips per core-second by another's (median of the rounds); and the
    settings.

    Raises:
      UserError: the data set is missing or damaged, or its videos do not fit the config.
    """
    data = experiment.data
    # Clips of one stride: tf.data makes no others.
    clip = replace(experiment.clip, max_stride=0)
    videos = _FirstVideos(open_videos(data.dir, "train"), max_videos)
    threads = max(data.workers, 1) * max(data.threads, 1)
    # Batches that may be finished or begun before the first one is taken.
    in_flight = 1 + data.workers * (data.prefetch + 5) if data.workers else data.prefetch + 2
    with tempfile.TemporaryDirectory(prefix="glober_jax_benchmark_") as folder:
        pipelines = _pipelines(experiment, videos, clip, batch_size, threads, Path(folder))
        contenders = {name: _taken(batches, in_flight) for name, batches in pipelines.items()}
        clips = _jpegs_of_clips(videos, clip, _DECODED_BATCHES * batch_size)
        contenders["jpeg_decoding"] = _decoding(clips, batch_size, threads)
        costs = measure(contenders, seconds=seconds, rounds=_ROUNDS, trial=in_flight)
    sizes = [len(jpeg) for jpegs in clips for jpeg in jpegs]
    measured = {}
    for name in (name for name in _TITLES if name in costs):
        found = clip_timing(costs[name], batch_size)
        frames = clip.num_frames if name.endswith("all_frames") else len(sizes) / len(clips)
        measured[name] = {
            **found,
            "frames_per_clip": frames,
            "frames_per_second": found["clips_per_second"] * frames,
            "frames_per_core_second": found["clips_per_core_second"] * frames,
            "jpeg_bytes_per_second": found["clips_per_second"] * frames * np.mean(sizes),
        }
    return {
        "measured": measured,
        "ratios": {
            f"loader / {name}": ratio(costs[name], costs["loader"], "cpu")
            for name in measured
            if name != "loader"
        },
        "tensorflow": metadata.version("tensorflow") if "tf_data" in measured else _NO_TENSORFLOW,
        "batch_size": batch_size,
        "dataset": {
            "split": "train",
            "fingerprint": videos.fingerprint,
            "videos": len(videos),
            "videos_in_split": len(videos.source),
            "frames_per_video": np.mean([videos[i].num_frames for i in range(len(videos))]),
            "jpeg_bytes_per_frame": np.mean(sizes),
        },
        "config": {
            "data": asdict(data),
            "clip": asdict(clip),
            "frame_size": experiment.networks.frame_size,
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
            "frames": f"{figures['frames_per_clip']:.2f}",
            "clips/s": f"{figures['clips_per_second']:.1f}",
            "clips/s per core": f"{figures['clips_per_core_second']:.1f}",
            "frames/s per core": f"{figures['frames_per_core_second']:.0f}",
            "loader's, divided by it": ratios[name],
        }
        for name, figures in report["measured"].items()
    ]
    text = markdown_table(rows)
    return text if "tf_data" in report["measured"] else f"{text}\n\ntf.data: {report['tensorflow']}"


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


def _pipelines(
    experiment: Experiment,
    videos: _FirstVideos,
    clip: ClipSpec,
    batch_size: int,
    threads: int,
    folder: Path,
) -> dict[str, Iterator[Any]]:
    """The loader and, where it is installed, TensorFlow on a copy of the videos in `folder`."""
    data = experiment.data
    shared: dict[str, Any] = {
        "batch_size": batch_size,
        "frame_size": experiment.networks.frame_size,
        "flip": data.flip,
        "prefetch": data.prefetch,
    }
    reading = {"seed": experiment.seed, "workers": data.workers, "threads": data.threads}
    loader = partial(training_batches, videos, **reading, **shared)
    every_frame = replace(clip, num_key_frames=0, num_target_frames=clip.num_frames)
    pipelines = {"loader": loader(clip), "loader_all_frames": loader(every_frame)}
    # Raises here where a video cannot be used.
    next(pipelines["loader"])
    if importlib.util.find_spec("tensorflow"):
        from glober_jax.benchmarking.tf_data import tf_batches, write_tfrecords

        file = folder / "videos.tfrecord"
        write_tfrecords((videos[index] for index in range(len(videos))), file)
        batches = partial(tf_batches, file, clip, threads=threads, **shared)
        pipelines["tf_data_all_frames"] = batches(all_frames=True)
        pipelines["tf_data"] = batches(all_frames=False)
    return pipelines


def _taken(batches: Iterator[Any], in_flight: int) -> Contender:
    """A pipeline that works ahead: its finished batches are taken before it is timed."""

    def take(count: int) -> None:
        for _ in itertools.islice(batches, count):
            pass

    return Contender(take, lambda repeats: take(in_flight))


def _jpegs_of_clips(videos: _FirstVideos, clip: ClipSpec, count: int) -> list[list[bytes]]:
    """The JPEG frames of random clips, each frame of a clip once, as the loader decodes them."""
    random, found = np.random.default_rng(0), []
    usable = [i for i in range(len(videos)) if videos[i].num_frames >= clip.span]
    for index in itertools.islice(itertools.cycle(usable), count):
        video = videos[index]
        drawn = sample_clip(random, video.num_frames, clip)
        frame_ids = np.union1d(drawn.key_ids_K, drawn.target_ids_n)
        found.append(video.stored_frames(frame_ids.tolist()))
    return found


def _decoding(clips: Sequence[Sequence[bytes]], batch_size: int, threads: int) -> Contender:
    """Decodes these clips repeatedly, in as many threads as the loader: cores slow each other."""
    pool, supply = ThreadPoolExecutor(threads), itertools.cycle(clips)

    def decode(batch: Sequence[Sequence[bytes]]) -> None:
        for jpeg in itertools.chain.from_iterable(batch):
            decode_jpeg(jpeg)

    def run(batches: int) -> None:
        parts = [list(itertools.islice(supply, batch_size)) for _ in range(batches)]
        list(pool.map(decode, parts))

    return Contender(run)
