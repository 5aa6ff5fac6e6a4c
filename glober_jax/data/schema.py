"""The one record format every dataset is stored in.

A record is one video, or one stretch of a long one: JPEG frames kept apart, so that a reader
decodes only the frames it uses. Records live in ArrayRecord shards under
`<output>/<dataset>/<version>/`, a dataset of TFDS that needs no TensorFlow to write or to read.
Where captions were embedded, a record also holds its caption's token embeddings.

Dimension key: L tokens of a caption, E width of a token's embedding.
"""

import functools
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

FEATURES = ("frames", "num_frames", "video_id", "label", "fps", "caption")
# Keys of the dataset's metadata.
CLASS_NAMES = "class_names"
FINGERPRINT = "fingerprint"
CHECKSUMS = "checksums"
TEXT = "text"


@dataclass(frozen=True)
class VideoRecord:
    """One stored video.

    Attributes:
      video_id: unique within its split.
      label: position in the dataset's class names; 0 where there are none.
      fps: frames per second, 0.0 where unknown.
      frames: JPEG bytes of each frame, all frames of one size.
      caption: what it shows; "" in a dataset without captions.
      text_LE: the caption's token embeddings, float16, or None.
    """

    video_id: str
    label: int
    fps: float
    frames: Sequence[bytes]
    caption: str = ""
    text_LE: np.ndarray | None = None


@dataclass(frozen=True)
class TextInfo:
    """What a dataset's captions became.

    Attributes:
      length, width: L and E of every caption's embeddings.
      encoder, captions: digests of the text encoder and of all captions.
    """

    length: int
    width: int
    encoder: str
    captions: str


@functools.cache
def record_features(text_shape: tuple[int, int] | None) -> tfds.features.FeaturesDict:
    """The features of a record, with embeddings of that shape (L, E) or without."""
    frame = tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")
    features = {
        "frames": tfds.features.Dataset(frame),
        "num_frames": np.int32,
        "video_id": tfds.features.Text(),
        "label": np.int64,
        "fps": np.float32,
        "caption": tfds.features.Text(),
    }
    if text_shape is not None:
        # Other encodings store float16 as float32.
        features[TEXT] = tfds.features.Tensor(shape=text_shape, dtype=np.float16, encoding="bytes")
    return tfds.features.FeaturesDict(features)


def serialize(record: VideoRecord) -> bytes:
    """The record as a reader of `record_features` finds it."""
    example: dict[str, object] = {
        # TFDS stores file objects as they are; arrays it would encode, by TensorFlow.
        "frames": [io.BytesIO(frame) for frame in record.frames],
        "num_frames": len(record.frames),
        "video_id": record.video_id,
        "label": record.label,
        "fps": record.fps,
        "caption": record.caption,
    }
    if record.text_LE is not None:
        example[TEXT] = record.text_LE
    text_shape = None if record.text_LE is None else record.text_LE.shape
    return serialize_example(record_features(text_shape), example)


def deserialize(data: bytes, text_shape: tuple[int, int] | None) -> VideoRecord:
    """The record that `serialize` made `data` of, with embeddings of that shape (L, E) or without.

    A frame is copied out of the record when it is asked for: a clip needs few of them.

    Raises:
      DecodeError: the bytes are no record, as those from a shard cut short, or not such a one.
    """
    features = tf_example_pb2.Example.FromString(data).features.feature
    if not all(name in features for name in FEATURES):
        raise DecodeError("the record is empty")

    def value(name: str, kind: str) -> Any:
        values = getattr(features[name], kind).value
        if len(values) != 1:
            raise DecodeError(f"the record has {len(values)} values of {name}, not one")
        return values[0]

    frames = features["frames"].bytes_list.value
    if (num_frames := value("num_frames", "int64_list")) != len(frames):
        raise DecodeError(f"the record has {len(frames)} frames, not {num_frames} as it says")
    try:
        text_LE = None
        if text_shape is not None:
            text_LE = np.frombuffer(value(TEXT, "bytes_list"), np.float16).reshape(text_shape)
        return VideoRecord(
            video_id=value("video_id", "bytes_list").decode(),
            label=value("label", "int64_list"),
            fps=value("fps", "float_list"),
            frames=frames,
            caption=value("caption", "bytes_list").decode(),
            text_LE=text_LE,
        )
    except ValueError as error:
        # Of decoding a text, or of embeddings of another shape.
        raise DecodeError(f"the record cannot be read ({error})") from error


def serialize_example(features: tfds.features.FeaturesDict, example: Mapping[str, Any]) -> bytes:
    """A tf.train.Example of these features: the same bytes in every process.

    TFDS alone leaves their order to the hash of their names.
    """
    data = features.serialize_example(example)
    return tf_example_pb2.Example.FromString(data).SerializeToString(deterministic=True)


def record_digest(record: VideoRecord) -> str:
    """64 hex digits that change with anything a reader can see of the record."""
    facts = (record.video_id, record.label, float(np.float32(record.fps)), record.caption)
    parts = [repr(facts).encode(), *record.frames]
    if record.text_LE is not None:
        parts.append(record.text_LE.tobytes())
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()
