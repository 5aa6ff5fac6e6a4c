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
import contextlib
import functools
import itertools
import sys
import weakref
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Literal

import grain
import numpy as np
from absl import flags

from glober_jax.data.batch_memory import BatchMemory
from glober_jax.data.batch_rows import Batch, BatchRows, check_length
from glober_jax.data.clips import ClipSpec, sample_clip
from glober_jax.data.damage import Damage, DamagedVideo, DamageLog
from glober_jax.data.source import Video, VideoSource
from glober_jax.data.workers import start_worker, without_interrupts
from glober_jax.errors import UserError

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
        rows = BatchRows(self.size, self.memory)
        damage: Damage = []
        for row, (number, draws_D) in enumerate(self._examples(step)):
            if self._fill(rows, row, number, draws_D, damage) is None:
                return {}, damage
        return rows.batch, damage

    def videos(self, step: int) -> list[str]:
        """IDs of the videos of the rows, "" where one cannot be had."""
        examples = self._examples(step)
        videos = (self._fill(BatchRows(1, self.memory), 0, *example, []) for example in examples)
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
        self, rows: BatchRows, row: int, number: int, draws_D: np.ndarray, damage: Damage
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

    def _draw(self, video: Video, draws_D: np.ndarray, rows: BatchRows, row: int) -> None:
        """Writes the fields of `training_batches`."""
        check_length(video, self.spec)
        clip = sample_clip(draws_D[1:], video.num_frames, self.spec)
        if self.flip:
            mirrored = draws_D[0] < 0.5
            if not self.source.has_mirrored:
                rows.put("mirrored", row, np.array(mirrored))
            elif mirrored:
                video = video.mirrored()
        rows.read_clip(row, video, clip, self.frame_size)
        if self.spec.num_target_frames:
            rows.put("target_index", row, clip.target_index_n)
        rows.put("label", row, np.array(video.label, np.int32))
        if self.text:
            rows.put("text", row, video.text_LE)


def _undamaged(
    batches: grain.DatasetIterator[tuple[Batch, Damage]], damage: DamageLog, workers: int
) -> Generator[Batch, None, None]:
    """The batches alone, their damage counted; ends the workers when it is closed or fails."""
    try:
        # The first batch starts the workers.
        with without_interrupts() if workers else contextlib.nullcontext():
            first = next(batches)
        for batch, met in itertools.chain([first], batches):
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


def allow_unparsed_flags() -> None:
    """Lets Grain read its absl flags, which nobody has parsed in a notebook or a test."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
