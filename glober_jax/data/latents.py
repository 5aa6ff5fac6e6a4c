"""A dataset as its frames' latents: the videos of a source, encoded once by a given frame codec.

A record holds the codec's moments of every frame, mean and log-variance, and where wanted those of
the mirrored frames. It is a `VideoSource` like any other, so the loader draws the same clips from
it. The metadata say which codec and which videos it was made from.

Dimension key: F frames, h, w latent size, M = 2 Z moments of Z latent channels, L, E embedded text.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from glober_jax.data.schema import CLASS_NAMES, TEXT, TextInfo
from glober_jax.data.source import Video, VideoSource

DATASET = "latents"
SPLIT = "train"
# Keys of the metadata.
CODEC = "codec"
DATA = "data"
FLIP = "flip"


@dataclass(frozen=True)
class LatentVideo:
    """A video whose frames are moments: `read` gives float16 [F, h, w, M]."""

    video_id: str
    label: int
    fps: float
    moments_FhwM: np.ndarray
    mirrored_FhwM: np.ndarray | None
    caption: str = ""
    text_LE: np.ndarray | None = None

    @property
    def num_frames(self) -> int:
        return len(self.moments_FhwM)

    def read(self, frame_ids: Sequence[int]) -> np.ndarray:
        return self.moments_FhwM[np.asarray(frame_ids)]

    def mirrored(self) -> Video:
        """The same video mirrored left to right, which must have been encoded too."""
        return dataclasses.replace(
            self, moments_FhwM=self.mirrored_FhwM, mirrored_FhwM=self.moments_FhwM
        )


def latent_features(
    shape_hwM: tuple[int, int, int], *, flip: bool, text_info: TextInfo | None
) -> tfds.features.FeaturesDict:
    """The features of a record whose frames are moments of that shape."""
    # Other encodings store float16 as float32.
    moments = tfds.features.Tensor(shape=(None, *shape_hwM), dtype=np.float16, encoding="bytes")
    features = {
        "moments": moments,
        "video_id": tfds.features.Text(),
        "label": np.int64,
        "fps": np.float32,
        "caption": tfds.features.Text(),
    }
    if flip:
        features["mirrored"] = moments
    if text_info is not None:
        features[TEXT] = tfds.features.Tensor(
            shape=(text_info.length, text_info.width), dtype=np.float16, encoding="bytes"
        )
    return tfds.features.FeaturesDict(features)


def latent_example(video: LatentVideo) -> dict[str, Any]:
    """The video as `latent_features` takes it for serializing."""
    example = {
        "moments": video.moments_FhwM,
        "video_id": video.video_id,
        "label": video.label,
        "fps": video.fps,
        "caption": video.caption,
    }
    if video.mirrored_FhwM is not None:
        example["mirrored"] = video.mirrored_FhwM
    if video.text_LE is not None:
        example[TEXT] = video.text_LE
    return example


def latent_metadata(source: VideoSource, codec_id: str, *, flip: bool) -> dict[str, object]:
    """What a reader has to know of a cache of `source`, made by the codec of that id."""
    metadata = {
        CLASS_NAMES: list(source.class_names),
        CODEC: codec_id,
        DATA: source.fingerprint,
        FLIP: flip,
    }
    return metadata | ({TEXT: asdict(source.text_info)} if source.text_info else {})
