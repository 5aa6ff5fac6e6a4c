"""Batches of clips for training, and the fixed clips of an evaluation.

The global batch is a pure function of (seed, step): every epoch is a permutation of its own, Grain
seeds every example by its number, and each process takes its rows of the global batch. So the step
is all the position there is, and any number of processes resumes the same sequence. Another video,
drawn from the same random numbers, replaces a damaged one.

Dimensions: N evaluation clips, B global batch, b = B / processes local batch, T clip frames, K key
frames, n target frames, H rows, W columns, C channels, L tokens of a text, E their width.
"""

import atexit
import contextlib
import functools
import itertools
import weakref
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import grain
import numpy as np
from absl import flags

from glober_jax.data.clips import ClipSpec, centre_clip, sample_clip
from glober_jax.data.damage import DamagedVideo, DamageLog
from glober_jax.data.source import Video, VideoSource, check_length, check_some_length, read_frames
from glober_jax.data.workers import start_loader_worker, without_interrupts
from glober_jax.errors import UserError

# If so many videos in a row cannot be used, the disk or the network is gone.
_MOST_ATTEMPTS = 64
# More examples than any run reads.
_ENDLESS = 2**62
_GOLDEN_RATIO = (1 + 5**0.5) / 2

Batch = dict[str, np.ndarray]
# Damaged videos, each with its place in the split.
Damage = list[tuple[int, DamagedVideo]]


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

    Memory: at most 2 + `prefetch` local batches with the caller's, or with workers 2 + `workers` *
    (5 + `prefetch`), of which at most 1 + 4 * `workers` in shared memory (/dev/shm).

    Args:
      source: the videos; every epoch visits each once.
      spec: the clip to draw from each.
      batch_size: B, over all processes.
      seed: with the step, decides everything; 32 bits.
      start_step: the step of the first batch; costs nothing to set.
      flip: whether half of the clips are to be mirrored left to right.
      text: whether to yield the videos' texts, which the source must have; they are large.
      frame_size: if given, frames of any other height or width are an error.
      process_index, process_count: this process gets rows [index * b, (index + 1) * b).
      damage: counts the damaged videos met, and stops at too many; by default at the first.
      workers: number of processes that read and decode, 0 for this one. Each gets a pickled copy
        of `source` and takes seconds to start.
      threads: batches assembled at a time, in every worker; 0 for none in the background.
      prefetch: batches assembled ahead, in every worker.

    Yields:
      `label` int32 [b]; with `flip`, unless the source gives mirrored videos itself, `mirrored`
      bool [b], the clips that the device has to mirror; with `text`, `text` float16 [b, L, E];
      unless K is 0, `key_frames` [b, K, H, W, C]; unless n is 0, `target_frames` [b, n, H, W, C]
      and `target_index` float32 [b, n] in [0, 1). Frames have the source's dtype, uint8 for pixels.
      The sequence does not depend on `workers`, `threads` and `prefetch`.

    Raises:
      UserError: at once if the source is empty or the batch cannot be divided; on iteration if too
        many videos are damaged or short, one has another size, or a worker process was killed.
    """
    if batch_size < 1 or batch_size % process_count:
        raise UserError(
            f"batch_size={batch_size} must be a positive multiple of the {process_count} processes"
        )
    allow_unparsed_flags()
    damage = DamageLog(len(source)) if damage is None else damage
    draw = _DrawExample(source, seed, spec, flip, text, frame_size, damage.allowed)
    options = grain.ReadOptions(num_threads=min(threads, prefetch), prefetch_buffer_size=prefetch)
    batches = (
        _examples(draw)
        .batch(batch_size // process_count, batch_fn=_stack)[
            # Local batches of step 0, those of step 1, and so on.
            start_step * process_count + process_index :: process_count
        ]
        .to_iter_dataset(options)
    )
    if workers:
        processes = grain.MultiprocessingOptions(num_workers=workers)
        batches = batches.mp_prefetch(processes, worker_init_fn=start_loader_worker)
    undamaged = _undamaged(iter(batches), damage, workers)
    # A traceback or a notebook may hold it until the interpreter is torn down.
    atexit.register(_close, weakref.ref(undamaged))
    return undamaged


def batch_videos(
    source: VideoSource,
    spec: ClipSpec,
    *,
    batch_size: int,
    seed: int,
    step: int,
    text: bool = False,
    damage: DamageLog | None = None,
) -> list[str]:
    """IDs of the videos of the global batch at `step`, in its order, all processes' rows.

    The arguments are those of `training_batches`. The videos are read again to find the damaged
    ones, which `damage` allows but does not count. "" stands for a video that cannot be read.
    """
    allowed = 0 if damage is None else damage.allowed
    examples = _examples(_DrawExample(source, seed, spec, False, text, None, allowed))
    videos = (examples[step * batch_size + row].video for row in range(batch_size))
    return ["" if video is None else video.video_id for video in videos]


class _Example(NamedTuple):
    """A row of a batch, its video (None if none could be read), and the damage met on the way.

    Frames are lists of views, so that they are copied once, into the batch.
    """

    fields: dict[str, np.ndarray | list[np.ndarray]]
    video: Video | None
    damage: Damage


@dataclass(frozen=True)
class _DrawExample:
    """Makes the example of a number; picklable."""

    source: VideoSource
    seed: int
    spec: ClipSpec
    flip: bool
    text: bool
    frame_size: int | None
    allowed_damage: int

    def __call__(self, number: int, rng: np.random.Generator) -> _Example:
        epoch, place = divmod(number, len(self.source))
        index = int(_order(self.seed, epoch, len(self.source))[place])
        damage: Damage = []
        for _ in range(_MOST_ATTEMPTS if self.allowed_damage else 1):
            try:
                video = self.source[index]
                return _Example(self._fields(video, rng), video, damage)
            except DamagedVideo as error:
                damage.append((index, error))
                index = int(rng.integers(len(self.source)))
        return _Example({}, None, damage)

    def _fields(
        self, video: Video, rng: np.random.Generator
    ) -> dict[str, np.ndarray | list[np.ndarray]]:
        check_length(video, self.spec)
        mirrored = rng.random() < 0.5
        clip = sample_clip(rng, video.num_frames, self.spec)
        fields = {}
        if self.flip and not self.source.has_mirrored:
            fields["mirrored"] = np.array(mirrored)
        elif self.flip and mirrored:
            video = video.mirrored()
        # A frame that is both key and target is read once.
        frame_ids = np.concatenate([clip.key_ids_K, clip.target_ids_n])
        frame_ids_F, places = np.unique(frame_ids, return_inverse=True)
        frames_FHWC = read_frames(video, frame_ids_F.tolist(), self.frame_size)
        keys = self.spec.num_key_frames
        if keys:
            fields["key_frames"] = [frames_FHWC[place] for place in places[:keys]]
        if self.spec.num_target_frames:
            fields["target_frames"] = [frames_FHWC[place] for place in places[keys:]]
            fields["target_index"] = clip.target_index_n
        fields["label"] = np.array(video.label, np.int32)
        if self.text:
            fields["text"] = video.text_LE
        return fields


@functools.lru_cache(maxsize=2)
def _order(seed: int, epoch: int, videos: int) -> np.ndarray:
    """The order of an epoch. Grain's own shuffle takes 3 ms an example if videos are few."""
    return np.random.default_rng((seed, epoch)).permutation(videos)


def _examples(draw: _DrawExample) -> grain.MapDataset[_Example]:
    """Endless examples, each a pure function of the seed and its number."""
    if not len(draw.source):
        raise UserError("the dataset holds no videos to train on")
    return grain.MapDataset.range(_ENDLESS).seed(draw.seed).random_map(draw)


def _stack(examples: Sequence[_Example]) -> tuple[Batch, Damage]:
    """The batch, empty if a row of it could not be read, and the damage met."""
    damage = [met for example in examples for met in example.damage]
    if any(example.video is None for example in examples):
        return {}, damage
    names = examples[0].fields
    return {name: np.array([row.fields[name] for row in examples]) for name in names}, damage


def _undamaged(
    batches: grain.DatasetIterator[tuple[Batch, Damage]], damage: DamageLog, workers: int
) -> Generator[Batch, None, None]:
    """Counts the damage and yields the batches; ends the workers when it is closed or fails."""
    try:
        # The first batch starts the workers.
        with without_interrupts() if workers else contextlib.nullcontext():
            first = next(batches)
        for batch, met in itertools.chain([first], batches):
            if workers:
                # A batch still in shared memory at exit would be reported as a leak.
                batch = {name: np.array(rows) for name, rows in batch.items()}
            for index, error in met if batch else met[:_MOST_ATTEMPTS]:
                damage.add(index, error)
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


def allow_unparsed_flags() -> None:
    """Lets Grain read its absl flags, which are not parsed in a notebook or a test."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


def eval_clips(
    source: VideoSource,
    spec: ClipSpec,
    num_clips: int,
    *,
    frame_size: int | None = None,
    damage: DamageLog | None = None,
) -> dict[str, np.ndarray | list[str]]:
    """The centre clips of N = min(num_clips, videos) videos spread over the source.

    One of each of N equal parts, always the same, but not at even distances: if classes take turns,
    these might all be of one class. The next free video, if any, replaces a damaged one.

    Returns:
      `frames` [N, T, H, W, C], all frames of each clip; `index` float32 [T]; unless K is 0,
      `key_frames` [N, K, H, W, C]; `label` int32 [N]; `video_id`, a list of N names; where the
      source has texts, `text` float16 [N, L, E] and `caption`, a list of N.

    Raises:
      UserError: no video is as long as a clip, too many for `damage` (by default, one) are damaged
        or short, or one has another size.
    """
    count = min(num_clips, len(source))
    if count < 1:
        raise UserError(f"no clips to evaluate on: {num_clips} asked for, {len(source)} videos")
    check_some_length(source, spec, "videos")
    damage = DamageLog(len(source)) if damage is None else damage
    found = list(_centre_clips(source, spec, _spread(len(source), count), frame_size, damage))
    videos = [video for video, _ in found]
    frames_NTHWC = np.stack([frames_THWC for _, frames_THWC in found])
    clips: dict[str, np.ndarray | list[str]] = {
        "frames": frames_NTHWC,
        "index": centre_clip(spec.span, spec).target_index_n,
        "label": np.array([video.label for video in videos], np.int32),
        "video_id": [video.video_id for video in videos],
    }
    if spec.num_key_frames:
        clips["key_frames"] = frames_NTHWC[:, spec.key_positions]
    if source.text_info is not None:
        clips["text"] = np.stack([video.text_LE for video in videos])
        clips["caption"] = [video.caption for video in videos]
    return clips


def _spread(total: int, count: int) -> list[int]:
    """`count` of `total` places, ascending, one of each of `count` parts."""
    bounds = np.arange(count + 1) * total // count
    # Multiples of the golden ratio leave no pattern that a period in the videos could meet.
    offsets = np.arange(count) * _GOLDEN_RATIO % 1 * np.diff(bounds)
    return (bounds[:-1] + offsets.astype(int)).tolist()


def _centre_clips(
    source: VideoSource,
    spec: ClipSpec,
    wanted: list[int],
    frame_size: int | None,
    damage: DamageLog,
) -> Iterator[tuple[Video, np.ndarray]]:
    """For each of the ascending `wanted` the next usable video, and its centre clip."""
    free = 0
    for first in wanted:
        for index in range(max(free, first), len(source)):
            free = index + 1
            video = source[index]
            try:
                check_length(video, spec)
                clip = centre_clip(video.num_frames, spec)
                frames_THWC = read_frames(video, clip.target_ids_n.tolist(), frame_size)
                if source.text_info is not None:
                    # From a record of which perhaps no frame was needed; it stays with the video.
                    _ = video.text_LE
            except DamagedVideo as error:
                damage.add(index, error)
            else:
                yield video, frames_THWC
                break
