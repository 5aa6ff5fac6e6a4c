"""The one record format every dataset is stored in: a TFDS dataset, used without TensorFlow.

A video is several records in a row in one ArrayRecord shard, each of `FRAMES_PER_RECORD` JPEG
frames, the last one of the rest, so that a clip of a long video costs no more than of a short one.
Every video's length is in the metadata, its caption and embeddings in its first record alone.

Dimension key: L tokens of a caption, E width of a token's embedding.
"""

import functools
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

# Clips of 16 frames read fastest with 4 to 8: fewer mean more seeks, more mean unused frames.
FRAMES_PER_RECORD = 8
FEATURES = ("frames", "start", "num_frames", "video_id", "label", "fps", "caption")
# Keys of the dataset's metadata.
CLASS_NAMES = "class_names"
FINGERPRINT = "fingerprint"
CHECKSUMS = "checksums"
TEXT = "text"
VIDEO_LENGTHS = "video_lengths"


@dataclass(frozen=True)
class VideoRecord:
    """Some consecutive frames of a stored video.

    Attributes:
      video_id: unique within its split.
      label: position in the dataset's class names; 0 where there are none.
      fps: frames per second, 0.0 where unknown.
      num_frames: length of the whole video.
      start: number of the first frame here.
      frames: JPEG bytes of each frame, all frames of one size.
      caption: "" in a dataset without captions, and where `start` is not 0.
      text_LE: the caption's token embeddings, float16; None in a dataset without, L = 0 where
        `start` is not 0.
    """

    video_id: str
    label: int
    fps: float
    num_frames: int
    start: int
    frames: Sequence[bytes]
    caption: str = ""
    text_LE: np.ndarray | None = None


@dataclass(frozen=True)
class TextInfo:
    """Shape (L, E) of a dataset's embedded captions; digests of the text encoder and captions."""

    length: int
    width: int
    encoder: str
    captions: str


def records_of(num_frames: int) -> Iterator[tuple[int, int]]:
    """First frame of each record of a video of that length, and the frame after its last."""
    for start in range(0, num_frames, FRAMES_PER_RECORD):
        yield start, min(start + FRAMES_PER_RECORD, num_frames)


@functools.cache
def record_features(text_width: int | None) -> tfds.features.FeaturesDict:
    """The features of a record, with embeddings of that width E or without."""
    frame = tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")
    frames = tfds.features.Dataset(frame)
    return tfds.features.FeaturesDict({"frames": frames, **video_features(text_width)})


def video_features(text_width: int | None) -> dict[str, Any]:
    """What a record holds besides frames, with embeddings of that width E or without."""
    features = {
        "start": np.int32,
        "num_frames": np.int32,
        "video_id": tfds.features.Text(),
        "label": np.int64,
        "fps": np.float32,
        "caption": tfds.features.Text(),
    }
    if text_width is not None:
        # Other encodings store float16 as float32.
        features[TEXT] = tfds.features.Tensor(
            shape=(None, text_width), dtype=np.float16, encoding="bytes"
        )
    return features


def serialize(record: VideoRecord) -> bytes:
    """The record as a reader of `record_features` finds it."""
    # TFDS stores file objects as they are, but encodes arrays with TensorFlow.
    example = vars(record) | {"frames": [io.BytesIO(frame) for frame in record.frames]}
    text_LE = example.pop("text_LE")
    if text_LE is None:
        return serialize_example(record_features(None), example)
    return serialize_example(record_features(text_LE.shape[1]), example | {TEXT: text_LE})


def deserialize(data: bytes, text_width: int | None) -> VideoRecord:
    """Reverses `serialize`, with embeddings of that width E or without; raises DecodeError.

    A frame is copied out of the record when it is asked for: a clip needs few of them.
    """
    features = tf_example_pb2.Example.FromString(data).features.feature
    frames = features["frames"].bytes_list.value
    try:
        (start,) = features["start"].int64_list.value
        (num_frames,) = features["num_frames"].int64_list.value
        (video_id,) = features["video_id"].bytes_list.value
        (label,) = features["label"].int64_list.value
        (fps,) = features["fps"].float_list.value
        (caption,) = features["caption"].bytes_list.value
        text_LE = None
        if text_width is not None:
            (text,) = features[TEXT].bytes_list.value
            text_LE = np.frombuffer(text, np.float16).reshape(-1, text_width)
        video_id, caption = video_id.decode(), caption.decode()
    except ValueError as error:
        # None or several of a value, no text, or embeddings of another width.
        raise DecodeError(f"the record cannot be read ({error})") from error
    if not 0 <= start < start + len(frames) <= num_frames:
        raise DecodeError(
            f"the record has {len(frames)} frames from number {start} on, its video {num_frames}"
        )
    return VideoRecord(video_id, label, fps, num_frames, start, frames, caption, text_LE)


def serialize_example(features: tfds.features.FeaturesDict, example: Mapping[str, Any]) -> bytes:
    """A tf.train.Example of these features: the same bytes in every process."""
    # TFDS alone leaves their order to the hash of their names.
    data = features.serialize_example(example)
    return tf_example_pb2.Example.FromString(data).SerializeToString(deterministic=True)


def record_digest(record: VideoRecord) -> str:
    """64 hex digits that change with anything a reader can see of the record."""
    fps = float(np.float32(record.fps))
    facts = (record.video_id, record.label, fps, record.num_frames, record.start, record.caption)
    parts = [repr(facts).encode(), *record.frames]
    if record.text_LE is not None:
        parts.append(record.text_LE.tobytes())
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
