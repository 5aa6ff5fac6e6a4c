"""The ways to make batches of clips that `benchmarking/data.py` compares.

All read the same videos. Those of ours draw the same clips, batch for batch; tf.data draws its own
by the same rule.
"""

import importlib.util
import itertools
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from glober_jax.benchmarking.rounds import Contender
from glober_jax.data.batch_rows import Batch
from glober_jax.data.clips import ClipSpec
from glober_jax.data.frames import decode_jpeg
from glober_jax.data.loader import training_batches
from glober_jax.data.schema import TextInfo
from glober_jax.data.source import StoredVideo, StoredVideos, VideoSource
from glober_jax.experiment import Experiment


@dataclass(frozen=True)
class FirstVideos:
    """At most `limit` videos of a source."""

    source: StoredVideos
    limit: int

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.source.class_names

    @property
    def fingerprint(self) -> str:
        return self.source.fingerprint

    @property
    def text_info(self) -> TextInfo | None:
        return self.source.text_info

    @property
    def has_mirrored(self) -> bool:
        return self.source.has_mirrored

    def __len__(self) -> int:
        return min(self.limit, len(self.source))

    def __getitem__(self, index: int) -> StoredVideo:
        return self.source[index]


@dataclass(frozen=True)
class Setup:
    """What all contenders read, and how."""

    experiment: Experiment
    videos: FirstVideos
    batch_size: int

    @property
    def in_flight(self) -> int:
        """How many batches may be finished or begun before the first one is taken."""
        data = self.experiment.data
        return 1 + data.workers * (data.prefetch + 5) if data.workers else data.prefetch + 2

    @property
    def decoders(self) -> int:
        """How many threads decode at a time, over all processes."""
        data = self.experiment.data
        return max(data.workers, 1) * max(data.threads, 1)

    def loader(self, clip: ClipSpec) -> Generator[Batch, None, None]:
        """Batches as training gets them."""
        data = self.experiment.data
        return training_batches(
            self.videos,
            clip,
            batch_size=self.batch_size,
            seed=self.experiment.seed,
            flip=data.flip,
            frame_size=self.experiment.networks.frame_size,
            workers=data.workers,
            threads=data.threads,
            prefetch=data.prefetch,
        )

    def inline_loader(self, videos: VideoSource) -> Iterator[Batch]:
        """The clips of `loader` from other `videos`, read when they are asked for, not before."""
        return training_batches(
            videos,
            self.experiment.clip,
            batch_size=self.batch_size,
            seed=self.experiment.seed,
            threads=0,
        )


@dataclass(frozen=True)
class Batches:
    """A contender that works ahead in the background."""

    batches: Iterator[Any]
    in_flight: int

    def get_ready(self, batches: int) -> None:
        # Uses up what was finished in advance: from here on as much is begun as is taken.
        del batches
        draw(self.batches, self.in_flight)

    def run(self, batches: int) -> None:
        draw(self.batches, batches)


class JpegDecoding:
    """Decodes the JPEG frames that the loader decodes for the same batches, and nothing else.

    They are in memory when that begins, and each frame's pixels are dropped at once. As many
    threads decode as the loader has: cores slow each other down.
    """

    def __init__(self, setup: Setup):
        self._clips: list[list[bytes]] = []
        self._threads = ThreadPoolExecutor(setup.decoders)
        self._in_flight = setup.in_flight
        self._batches = setup.inline_loader(_NotingVideos(setup.videos, self._clips))
        self.num_clips = self.num_frames = self.num_bytes = 0

    def get_ready(self, batches: int) -> None:
        draw(self._batches, self._in_flight)
        self._clips.clear()
        draw(self._batches, batches)
        self.num_clips += len(self._clips)
        self.num_frames += sum(map(len, self._clips))
        self.num_bytes += sum(len(jpeg) for jpegs in self._clips for jpeg in jpegs)

    def run(self, batches: int) -> None:
        size = len(self._clips) // batches
        parts = [self._clips[first : first + size] for first in range(0, len(self._clips), size)]
        for _ in self._threads.map(_decode, parts):
            pass


def _decode(clips: Sequence[Sequence[bytes]]) -> None:
    for jpegs in clips:
        for jpeg in jpegs:
            decode_jpeg(jpeg)


def all_frames(clip: ClipSpec) -> ClipSpec:
    """The same clips with every frame a target."""
    return replace(clip, num_key_frames=0, num_target_frames=clip.num_frames)


def tensorflow_version() -> str | None:
    """The installed TensorFlow's, None where there is none."""
    if importlib.util.find_spec("tensorflow") is None:
        return None
    import tensorflow

    return tensorflow.__version__


def tf_data(setup: Setup, folder: Path) -> dict[str, Contender]:
    """Pipelines of tf.data, reading a copy of the videos in `folder`; none without TensorFlow."""
    if tensorflow_version() is None:
        return {}
    from glober_jax.benchmarking.tf_data import tf_batches, write_tfrecords

    path = folder / "videos.tfrecord"
    write_tfrecords((setup.videos[index] for index in range(len(setup.videos))), path)
    data = setup.experiment.data

    def contender(every_frame: bool) -> Batches:
        batches = tf_batches(
            path,
            setup.experiment.clip,
            all_frames=every_frame,
            batch_size=setup.batch_size,
            frame_size=setup.experiment.networks.frame_size,
            flip=data.flip,
            threads=setup.decoders,
            prefetch=data.prefetch,
        )
        return Batches(batches, setup.in_flight)

    return {"tf_data_all_frames": contender(True), "tf_data": contender(False)}


def draw(batches: Iterator[Any], count: int) -> None:
    """Takes that many batches and drops them."""
    for _ in itertools.islice(batches, count):
        pass


@dataclass(frozen=True)
class _NotingVideos:
    """Videos that note the JPEG frames asked for, clip by clip, and decode none."""

    videos: FirstVideos
    clips: list[list[bytes]]

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> "_NotingVideo":
        return _NotingVideo(self.videos[index], self.clips)


@dataclass(frozen=True)
class _NotingVideo:
    video: StoredVideo
    clips: list[list[bytes]]

    @property
    def video_id(self) -> str:
        return self.video.video_id

    @property
    def num_frames(self) -> int:
        return self.video.num_frames

    @property
    def label(self) -> int:
        return self.video.label

    def allocate(self, frame_ids: Sequence[int]) -> np.ndarray:
        return self.video.allocate(frame_ids)

    def read_into(self, frame_ids: Sequence[int], out: Sequence[np.ndarray]) -> None:
        del out
        self.clips.append(self.video.jpegs(frame_ids))
