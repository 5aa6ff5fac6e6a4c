"""Batches of clips for training and evaluation.

The global batch is a pure function of (seed, step): videos are shuffled anew for every epoch, clips
drawn and flipped by example number, and only then does each process take its rows. So the position
to save is the step, and any number of processes continues the same sequence.

Dimensions: B global batch, b = B / processes local batch, T clip frames, K key frames, n target
frames, H rows, W columns, C channels, L tokens of a text, E their width.
"""

import functools
import sys
from collections.abc import Iterator
from typing import Literal

import grain
import numpy as np
from absl import flags

from glober_jax.data.clips import ClipFrames, ClipSpec, centre_clip, sample_clip
from glober_jax.data.source import Video, VideoSource
from glober_jax.errors import UserError

Batch = dict[str, np.ndarray]


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
    threads: int = 2,
    prefetch: int = 2,
) -> Iterator[Batch]:
    """Endless training batches, this process's rows of them.

    Args:
      source: the videos; every epoch visits each once.
      spec: the clip to draw from each.
      batch_size: B, over all processes.
      seed: with the step, decides everything.
      start_step: the step of the first batch; costs nothing to set.
      flip: whether to mirror half of the clips left to right; for pixels, not latents.
      text: whether to yield the videos' texts, which the source must have; they are large.
      frame_size: if given, frames of any other height or width are an error.
      process_index, process_count: this process gets rows [index * b, (index + 1) * b).
      threads: how many batches are put together at a time; 0 for none in the background.
      prefetch: how many finished batches wait at most.

    Yields:
      `label` int32 [b]; with `text`, `text` float16 [b, L, E]; unless K is 0, `key_frames`
      [b, K, H, W, C]; unless n is 0, `target_frames` [b, n, H, W, C] and `target_index` float32
      [b, n] in [0, 1). Frames have the source's dtype, uint8 for pixels.

    Raises:
      UserError: from this call if the source is empty, the seed negative or the batch not to be
        divided; from the iterator if a video is too short, damaged or of another size.
    """
    local_size = _local_size(len(source), batch_size, process_count, seed)
    _allow_unparsed_flags()

    order_of_epoch = functools.lru_cache(maxsize=2)(
        lambda epoch: _generator("order", seed, epoch).permutation(len(source))
    )

    def example(number: int) -> Batch:
        epoch, position = divmod(number, len(source))
        video = source[int(order_of_epoch(epoch)[position])]
        row = _draw_example(video, spec, _generator("clip", seed, number), flip, frame_size)
        return row | {"text": video.text_LE} if text else row

    def local_batch(step: int) -> Batch:
        first = step * batch_size + process_index * local_size
        batch: Batch = {}
        for row in range(local_size):
            for name, value in example(first + row).items():
                if row == 0:
                    batch[name] = np.empty((local_size, *value.shape), value.dtype)
                batch[name][row] = value
        return batch

    batches = grain.MapDataset.range(start_step, sys.maxsize).map(local_batch)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)
    return iter(batches.to_iter_dataset(options))


def eval_clips(
    source: VideoSource, spec: ClipSpec, num_clips: int, *, frame_size: int | None = None
) -> dict[str, np.ndarray | list[str]]:
    """The centre clips of N = min(num_clips, videos) videos spread evenly over the source.

    Returns:
      `frames` [N, T, H, W, C], all frames of each clip; `index` float32 [T]; unless K is 0,
      `key_frames` [N, K, H, W, C]; `label` int32 [N]; `video_id`, a list of N names; where the
      source has texts, `text` float16 [N, L, E] and `caption`, a list of N.

    Raises:
      UserError: there is no video, or one is too short, damaged, or of another size.
    """
    count = min(num_clips, len(source))
    if count < 1:
        raise UserError(f"no clips to evaluate on: {num_clips} asked for, {len(source)} videos")
    videos = [source[i * len(source) // count] for i in range(count)]
    frames = []
    for video in videos:
        _check_length(video, spec)
        clip = centre_clip(video.num_frames, spec)
        frames.append(_read_frames(video, clip.target_ids_n, frame_size))
    frames_NTHWC = np.stack(frames)
    clips: dict[str, np.ndarray | list[str]] = {
        "frames": frames_NTHWC,
        "index": clip.target_index_n,
        "label": np.array([video.label for video in videos], np.int32),
        "video_id": [video.video_id for video in videos],
    }
    if spec.num_key_frames:
        clips["key_frames"] = frames_NTHWC[:, spec.key_positions]
    if source.text_info is not None:
        clips["text"] = np.stack([video.text_LE for video in videos])
        clips["caption"] = [video.caption for video in videos]
    return clips


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


def _generator(purpose: Literal["order", "clip"], seed: int, number: int) -> np.random.Generator:
    """A generator of its own for every epoch's order and every example's clip."""
    return np.random.default_rng((("order", "clip").index(purpose), seed, number))


def _draw_example(
    video: Video, spec: ClipSpec, rng: np.random.Generator, flip: bool, frame_size: int | None
) -> Batch:
    """One row of a training batch; the fields of `training_batches` without the batch axis."""
    _check_length(video, spec)
    clip = sample_clip(rng, video.num_frames, spec)
    if flip and rng.random() < 0.5:
        video = video.mirrored()
    row = _read_clip(video, clip, frame_size)
    if spec.num_target_frames:
        row["target_index"] = clip.target_index_n
    row["label"] = np.array(video.label, np.int32)
    return row


def _read_clip(video: Video, clip: ClipFrames, frame_size: int | None) -> Batch:
    """Key and target frames, where there are any; a frame that is both is read once."""
    keys, targets = clip.key_ids_K, clip.target_ids_n
    # Key frames first: they are most of a clip, and a slice of what was read is no copy.
    distinct = np.concatenate([keys, np.setdiff1d(targets, keys)])
    if not len(distinct):
        return {}
    frames_FHWC = _read_frames(video, distinct, frame_size)
    row = {}
    if len(keys):
        row["key_frames"] = frames_FHWC[: len(keys)]
    if len(targets):
        order = np.argsort(distinct)
        positions = order[np.searchsorted(distinct, targets, sorter=order)]
        row["target_frames"] = frames_FHWC[positions]
    return row


def _read_frames(video: Video, frame_ids: np.ndarray, frame_size: int | None) -> np.ndarray:
    frames_FHWC = video.read(frame_ids)
    height, width = frames_FHWC.shape[1:3]
    if frame_size is not None and (height, width) != (frame_size, frame_size):
        raise UserError(
            f"the frames of video {video.video_id} are {height}x{width}, the config wants "
            f"{frame_size}x{frame_size}: prepare the dataset with --size={frame_size}, or set the "
            "config's frame size"
        )
    return frames_FHWC


def _check_length(video: Video, spec: ClipSpec) -> None:
    if video.num_frames < spec.span:
        raise UserError(
            f"video {video.video_id} has {video.num_frames} frames, a clip of {spec.num_frames} "
            f"frames at stride {spec.stride} needs {spec.span}: prepare the dataset with "
            f"--min_frames={spec.span}, or shorten the clip"
        )


def _allow_unparsed_flags() -> None:
    # Grain reads absl flags, which nobody has parsed in a notebook or a test.
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
