"""A plain tf.data pipeline over copies of our clips, as a baseline.

The only module that imports TensorFlow, which is optional (requirements-tensorflow.txt).

Dimensions: T clip frames, K key frames, n target frames, H rows, W columns.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

# Read when TensorFlow is imported: no remarks about the processor it was compiled for.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

from glober_jax.data.clips import ClipSpec
from glober_jax.data.source import StoredVideo

_SHUFFLED_RECORDS = 32
_FRAMES = "frames"


def write_tfrecords(videos: Iterator[StoredVideo], path: Path) -> None:
    """Copies the JPEG frames of videos, as they are, to a TFRecord file of tf.train.Examples."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for video in videos:
            jpegs = video.stored_frames(range(video.num_frames))
            frames = tf.train.Feature(bytes_list=tf.train.BytesList(value=jpegs))
            features = tf.train.Features(feature={_FRAMES: frames})
            writer.write(tf.train.Example(features=features).SerializeToString())


def tf_batches(
    path: Path,
    spec: ClipSpec,
    *,
    all_frames: bool,
    batch_size: int,
    frame_size: int,
    flip: bool,
    threads: int,
    prefetch: int,
) -> Iterator[tuple[np.ndarray, ...]]:
    """Endless batches of random clips of the videos that `write_tfrecords` wrote to `path`.

    Yields all of a clip's frames, (uint8 [B, T, H, W, 3],), or where not `all_frames` (key frames
    [B, K, H, W, 3], targets [B, n, H, W, 3]), of which those that are both are decoded once. With
    `flip` half of the clips are mirrored; `threads` clips are decoded at a time.
    """

    def decode(jpegs: tf.Tensor, count: int | None) -> tf.Tensor:
        frames = tf.map_fn(
            # Our pixels: TensorFlow's default is 2 % faster, and up to 13 of 255 levels off.
            lambda jpeg: tf.io.decode_jpeg(jpeg, channels=3, dct_method="INTEGER_ACCURATE"),
            jpegs,
            # Clips are what is decoded side by side; frames too would only take more time.
            parallel_iterations=1,
            fn_output_signature=tf.uint8,
        )
        return tf.ensure_shape(frames, (count, frame_size, frame_size, 3))

    def clip(serialized: tf.Tensor) -> tuple[tf.Tensor, ...]:
        features = {_FRAMES: tf.io.RaggedFeature(tf.string)}
        jpegs = tf.io.parse_single_example(serialized, features)[_FRAMES]
        starts = tf.shape(jpegs)[0] - spec.span + 1
        start = tf.random.uniform((), maxval=starts, dtype=tf.int32)
        jpegs_T = jpegs[start : start + spec.span : spec.stride]
        if all_frames:
            clips = (decode(jpegs_T, spec.num_frames),)
        else:
            order = tf.random.shuffle(tf.range(spec.num_frames))
            targets_n = tf.sort(order[: spec.num_target_frames])
            positions = tf.concat([tf.constant(spec.key_positions, tf.int32), targets_n], 0)
            distinct, place = tf.unique(positions)
            frames = tf.gather(decode(tf.gather(jpegs_T, distinct), None), place)
            clips = (frames[: spec.num_key_frames], frames[spec.num_key_frames :])
        if not flip:
            return clips
        mirrored = tf.random.uniform(()) < 0.5
        return tf.cond(
            mirrored, lambda: tuple(tf.reverse(frames, [2]) for frames in clips), lambda: clips
        )

    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    batches = (
        tf.data.TFRecordDataset(str(path))
        .repeat()
        .shuffle(_SHUFFLED_RECORDS)
        .map(clip, num_parallel_calls=threads)
        .batch(batch_size, drop_remainder=True)
        .prefetch(prefetch)
        .with_options(options)
    )
    return batches.as_numpy_iterator()
