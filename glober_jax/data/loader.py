"""Batches of clips for training.

The global batch is a pure function of (seed, step): videos are shuffled anew for every epoch,
random numbers drawn for the clips of the whole batch, and only then does each process take its
rows. So the position to save is the step, and any number of processes continues the same sequence.
A damaged video has its place taken by the next one of the epoch's order, a function of those two.

Dimensions: B global batch, b = B / processes local batch, D random numbers for an example, T clip
frames, K key frames, n target frames, H rows, W columns, C channels, L tokens of a text, E their
width.
"""

import atexit
import functools
import sys
import weakref
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Literal

import grain
import numpy as np
from absl import flags

from glober_jax.data.batch_memory import BatchMemory
from glober_jax.data.clips import ClipFrames, ClipSpec, sample_clip
from glober_jax.data.damage import Damage, DamagedVideo, DamageLog
from glober_jax.data.source import Video, VideoSource
from glober_jax.data.workers import start_worker
from glober_jax.errors import UserError

Batch = dict[str, np.ndarray]

# Where none of so many videos in a row can be used, none can: no disk, no network, a wrong config.
_MOST_ATTEMPTS = 32


def training_batches(
    source: VideoSource,
    spec: ClipSpec,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    flip: bool = False,
    text: bool = False,
    frame_size: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
    damage: DamageLog | None = None,
    workers: int = 0,
    threads: int = 2,
    prefetch: int = 2,
) -> Iterator[Batch]:
    """Endless training batches, this process's rows of them.

    Memory, in local batches: at most 2 + `prefetch` are whole or in the making, the one that the
    caller holds included, or 2 + `workers` * (5 + `prefetch`); on top of it, in every worker, the
    records of `threads` clips and two epochs' orders of 8 bytes a video. Batches of workers pass
    through shared memory (/dev/shm), at most 1 + 4 * `workers` at a time.

    Args:
      source: the videos; every epoch visits each once.
      spec: the clip to draw from each.
      batch_size: B, over all processes.
      seed: with the step, decides everything.
      start_step: the step of the first batch; costs nothing to set.
      flip: whether half of the clips are to be mirrored left to right.
      text: whether to yield the videos' texts, which the source must have; they are large.
      frame_size: if given, frames of any other height or width are an error.
      process_index, process_count: this process gets rows [index * b, (index + 1) * b).
      damage: counts the damaged videos met, and stops at too many; by default at the first.
      workers: how many processes read and decode, 0 for this one. Each gets a pickled copy of
        `source`, so they are of no use where that is in memory, and they start in seconds.
      threads: how many batches are put together at a time, in every worker; no more than
        `prefetch`, and 0 for none in the background.
      prefetch: how many batches wait or are in the making, in every worker.

    Yields:
      `label` int32 [b]; with `flip`, unless the source gives mirrored videos itself, `mirrored`
      bool [b]: the clips to mirror, which costs a device next to nothing; with `text`, `text`
      float16 [b, L, E]; unless K is 0, `key_frames`
      [b, K, H, W, C]; unless n is 0, `target_frames` [b, n, H, W, C] and `target_index` float32
      [b, n] in [0, 1). Frames have the source's dtype, uint8 for pixels. The sequence is the same
      whatever `workers`, `threads` and `prefetch` are.

    Raises:
      UserError: from this call if the source is empty, the seed negative or the batch not to be
        divided; from the iterator if too many videos are damaged or too short, one is of another
        size, or a worker process was killed.
    """
    local_size = _local_size(len(source), batch_size, process_count, seed)
    allow_unparsed_flags()
    if damage is None:
        damage = DamageLog(len(source))
    read = _LocalBatches(
        source=source,
        spec=spec,
        stride=batch_size,
        first_row=process_index * local_size,
        size=local_size,
        seed=seed,
        flip=flip,
        text=text,
        frame_size=frame_size,
        allowed_damage=damage.allowed,
    )
    options = grain.ReadOptions(num_threads=min(threads, prefetch), prefetch_buffer_size=prefetch)
    batches = grain.MapDataset.range(start_step, sys.maxsize).map(read).to_iter_dataset(options)
    if workers:
        processes = grain.MultiprocessingOptions(num_workers=workers)
        batches = batches.mp_prefetch(processes, worker_init_fn=start_worker)
    undamaged = _undamaged(iter(batches), damage, workers)
    # A traceback or a notebook may refer to it until the program ends, and then it is too late.
    atexit.register(_close, weakref.ref(undamaged))
    return undamaged


def batch_videos(
    source: VideoSource,
    spec: ClipSpec,
    *,
    batch_size: int,
    seed: int,
    step: int,
    damage: DamageLog | None = None,
) -> list[str]:
    """IDs of the videos of the global batch at `step`, in its order, all processes' rows.

    The arguments are those of `training_batches`. The videos are read again, for where one is
    damaged another has its place; `damage` says how many may be, and counts none. "" stands for a
    video that cannot be had.
    """
    damage = DamageLog(len(source)) if damage is None else damage
    read = _LocalBatches(
        source=source,
        spec=spec,
        stride=batch_size,
        first_row=0,
        size=batch_size,
        seed=seed,
        flip=False,
        text=False,
        frame_size=None,
        allowed_damage=damage.allowed,
    )
    return read.videos(step)


@dataclass(frozen=True)
class _LocalBatches:
    """Step -> this process's rows and the damage met. Pickled, it travels to worker processes."""

    source: VideoSource
    spec: ClipSpec
    stride: int
    first_row: int
    size: int
    seed: int
    flip: bool
    text: bool
    frame_size: int | None
    allowed_damage: int
    memory: BatchMemory = field(default_factory=BatchMemory)

    def __call__(self, step: int) -> tuple[Batch, Damage]:
        """The batch; an empty one where a row of it cannot be had."""
        rows = _Rows(self.size, self.memory)
        damage: Damage = []
        for row, (number, draws_D) in enumerate(self._examples(step)):
            if self._fill(rows, row, number, draws_D, damage) is None:
                return {}, damage
        return rows.batch, damage

    def videos(self, step: int) -> list[str]:
        """IDs of the videos of the rows, "" where one cannot be had."""
        examples = self._examples(step)
        videos = (self._fill(_Rows(1, self.memory), 0, *example, []) for example in examples)
        return ["" if video is None else video.video_id for video in videos]

    def _examples(self, step: int) -> Iterator[tuple[int, np.ndarray]]:
        """Number and random numbers of each row's example."""
        # One generator for all: making one takes longer than drawing a clip.
        draws_BD = _generator("clips", self.seed, step).random(
            (self.stride, 1 + self.spec.num_draws)
        )
        for row in range(self.first_row, self.first_row + self.size):
            yield step * self.stride + row, draws_BD[row]

    def _fill(
        self, rows: "_Rows", row: int, number: int, draws_D: np.ndarray, damage: Damage
    ) -> Video | None:
        """Fills a row with the example of that number, and says of which video, if of any.

        It is of the first video from the number's position on that can be used.
        """
        epoch, position = divmod(number, len(self.source))
        order = _epoch_order(self.seed, epoch, len(self.source))
        for attempt in range(min(self.allowed_damage + 1, _MOST_ATTEMPTS)):
            index = int(order[(position + attempt) % len(order)])
            try:
                video = self.source[index]
                self._draw(video, draws_D, rows, row)
                return video
            except DamagedVideo as error:
                damage.append((index, error.video, error.reason))
                if row == 0:
                    # Its frames may have been of another size.
                    rows.batch.clear()
        return None

    def _draw(self, video: Video, draws_D: np.ndarray, rows: "_Rows", row: int) -> None:
        """Writes the fields of `training_batches`."""
        check_length(video, self.spec)
        clip = sample_clip(draws_D[1:], video.num_frames, self.spec)
        if self.flip:
            mirrored = draws_D[0] < 0.5
            if not self.source.has_mirrored:
                rows.put("mirrored", row, np.array(mirrored))
            elif mirrored:
                video = video.mirrored()
        _read_clip(video, clip, self.frame_size, rows, row)
        if self.spec.num_target_frames:
            rows.put("target_index", row, clip.target_index_n)
        rows.put("label", row, np.array(video.label, np.int32))
        if self.text:
            rows.put("text", row, video.text_LE)


class _Rows:
    """A batch whose arrays are made to the measure of the first of its examples."""

    def __init__(self, size: int, memory: BatchMemory):
        self.size = size
        self.batch: Batch = {}
        self._memory = memory

    def field(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """The array of a field, which has that shape and type in every example."""
        if name not in self.batch:
            self.batch[name] = self._memory.array((self.size, *shape), dtype)
        return self.batch[name]

    def put(self, name: str, row: int, value: np.ndarray) -> None:
        self.field(name, value.shape, value.dtype)[row] = value


def _undamaged(
    batches: grain.DatasetIterator[tuple[Batch, Damage]], damage: DamageLog, workers: int
) -> Generator[Batch, None, None]:
    """The batches alone, their damage counted; ends the workers when it is closed or fails."""
    try:
        for batch, met in batches:
            if workers:
                # Out of the shared memory, which Grain frees when its arrays are forgotten: a batch
                # that somebody holds to the end of the program would be reported as a leak.
                batch = {name: np.array(rows) for name, rows in batch.items()}
            damage.add(met)
            if not batch:
                raise damage.refusal(f"{_MOST_ATTEMPTS} videos in a row cannot be used")
            yield batch
    except RuntimeError as error:
        if "Worker process was terminated" not in str(error):
            raise
        raise UserError(
            f"a worker process of the data loader ended ({str(error).split('. ')[0]}): memory or "
            "/dev/shm ran out if it was killed, lower config.data.workers or config.data.prefetch; "
            'a script of your own needs if __name__ == "__main__" around what it does'
        ) from error
    finally:
        batches.close()


def _close(batches: weakref.ref[Generator[Batch, None, None]]) -> None:
    if (alive := batches()) is not None:
        alive.close()


def _local_size(num_videos: int, batch_size: int, process_count: int, seed: int) -> int:
    """Rows per process, after refusing what cannot work."""
    if num_videos == 0:
        raise UserError("the dataset holds no videos to train on")
    if batch_size < 1 or batch_size % process_count:
        raise UserError(
            f"batch_size={batch_size} must be a positive multiple of the {process_count} processes"
        )
    if seed < 0:
        raise UserError(f"seed={seed} must not be negative")
    return batch_size // process_count


def _generator(purpose: Literal["order", "clips"], seed: int, number: int) -> np.random.Generator:
    """A generator of its own for every epoch's order and every step's clips."""
    return np.random.default_rng((("order", "clips").index(purpose), seed, number))


@functools.lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, num_videos: int) -> np.ndarray:
    return _generator("order", seed, epoch).permutation(num_videos)


def _read_clip(
    video: Video, clip: ClipFrames, frame_size: int | None, rows: _Rows, row: int
) -> None:
    """Reads key and target frames, where there are any; one that is both is read once."""
    wanted = {"key_frames": clip.key_ids_K.tolist(), "target_frames": clip.target_ids_n.tolist()}
    every = [frame_id for ids in wanted.values() for frame_id in ids]
    if not every:
        return
    sample = video.allocate(every)
    check_size(video, sample, frame_size)
    places: dict[int, np.ndarray] = {}
    repeats: list[tuple[np.ndarray, int]] = []
    for name, ids in wanted.items():
        if not ids:
            continue
        shape = (len(ids), *sample.shape[1:])
        frames_FHWC = rows.field(name, shape, sample.dtype)[row]
        for frame_id, frame_HWC in zip(ids, frames_FHWC, strict=True):
            if frame_id in places:
                repeats.append((frame_HWC, frame_id))
            else:
                places[frame_id] = frame_HWC
    video.read_into(list(places), list(places.values()))
    for frame_HWC, frame_id in repeats:
        frame_HWC[...] = places[frame_id]


def check_size(video: Video, frames_FHWC: np.ndarray, frame_size: int | None) -> None:
    """Raises UserError where a video's frames are not of the config's size."""
    height, width = frames_FHWC.shape[1:3]
    if frame_size is not None and (height, width) != (frame_size, frame_size):
        raise UserError(
            f"the frames of video {video.video_id} are {height}x{width}, the config wants "
            f"{frame_size}x{frame_size}: prepare the dataset with --size={frame_size}, or set the "
            "config's frame size"
        )


def check_length(video: Video, spec: ClipSpec) -> None:
    """Raises DamagedVideo where a video is shorter than a clip."""
    if video.num_frames < spec.span:
        raise DamagedVideo(
            f"video {video.video_id}",
            f"it has {video.num_frames} frames, a clip of {spec.num_frames} frames at stride "
            f"{spec.stride} needs {spec.span} (prepare with --min_frames={spec.span}, or shorten "
            "the clip)",
        )


def allow_unparsed_flags() -> None:
    """Lets Grain read its absl flags, which nobody has parsed in a notebook or a test."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
