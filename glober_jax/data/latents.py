"""A dataset as its frames' latents: the videos of a source, encoded once by a given frame codec.

A record holds the codec's moments of a few frames, mean and log-variance, and where wanted those of
the mirrored frames; a video is a few records in a row, as in the dataset it was made from. It is a
`VideoSource` like any other, so the loader draws the same clips from it. The metadata say which
codec and which videos it was made from.

Dimension key: F frames, h, w latent size, M = 2 Z moments of Z latent channels, L, E embedded text.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from glober_jax.data.recorded_video import RecordedVideo
from glober_jax.data.schema import CLASS_NAMES, TEXT, TextInfo, video_features
from glober_jax.data.source import VideoSource
from glober_jax.data.stored_records import StoredRecords, open_records
from glober_jax.errors import UserError

DATASET = "latents"
SPLIT = "train"
# Keys of the metadata.
CODEC = "codec"
DATA = "data"
FLIP = "flip"
SHAPE = "shape"


@dataclass(frozen=True)
class LatentRecord:
    """Some consecutive frames of a video as moments, float16; else as `schema.VideoRecord`."""

    video_id: str
    label: int
    fps: float
    num_frames: int
    start: int
    moments_FhwM: np.ndarray
    mirrored_FhwM: np.ndarray | None
    caption: str = ""
    text_LE: np.ndarray | None = None


@dataclass(frozen=True)
class LatentVideo(RecordedVideo[LatentRecord]):
    """A video whose frames are moments: `read` gives float16 [F, h, w, M]."""

    is_mirrored: bool = False

    def mirrored(self) -> Self:
        """The moments of the mirrored frames, which must have been encoded too."""
        return replace(self, is_mirrored=not self.is_mirrored)

    def read(self, frame_ids: Sequence[int]) -> np.ndarray:
        return np.stack(self._moments(frame_ids))

    def allocate(self, frame_ids: Sequence[int]) -> np.ndarray:
        first = self._moments(frame_ids)[0]
        return np.empty((len(frame_ids), *first.shape), first.dtype)

    def read_into(self, frame_ids: Sequence[int], out: Sequence[np.ndarray]) -> None:
        for moments_hwM, target in zip(self._moments(frame_ids), out, strict=True):
            target[...] = moments_hwM

    def _moments(self, frame_ids: Sequence[int]) -> list[np.ndarray]:
        return [
            (record.mirrored_FhwM if self.is_mirrored else record.moments_FhwM)[place]
            for record, place in self.places(frame_ids)
        ]


class LatentVideos:
    """A cache as a `VideoSource`. Opens its files on first use, so it pickles small."""

    has_mirrored = True

    def __init__(self, records: StoredRecords):
        """Gives `records` of `latent_features` as videos."""
        self._records = records
        metadata = records.metadata
        self.class_names: tuple[str, ...] = tuple(metadata[CLASS_NAMES])
        self.text_info = TextInfo(**metadata[TEXT]) if TEXT in metadata else None
        self.fingerprint = records.fingerprint
        self._features = latent_features(
            tuple(metadata[SHAPE]), flip=metadata[FLIP], text_info=self.text_info
        )

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> LatentVideo:
        """A video of which nothing is read before it is asked for; may raise IndexError."""
        if not 0 <= index < len(self):
            raise IndexError(f"video {index} of {len(self)}")
        return LatentVideo(self._records, index, self._parse)

    def __repr__(self) -> str:
        return f"LatentVideos({self._records!r})"

    def _parse(self, data: bytes) -> LatentRecord:
        # What is missing from the bytes is None, of which nothing below can be made.
        example = self._features.deserialize_example_np(data)
        moments_FhwM = example["moments"][:]
        return LatentRecord(
            video_id=bytes(example["video_id"]).decode(),
            label=int(example["label"]),
            fps=float(example["fps"]),
            num_frames=int(example["num_frames"]),
            start=int(example["start"]),
            moments_FhwM=moments_FhwM,
            mirrored_FhwM=example.get("mirrored"),
            caption=bytes(example["caption"]).decode(),
            text_LE=example.get(TEXT),
        )


def open_latents(
    directory: epath.PathLike,
    source: VideoSource,
    codec_id: str,
    *,
    flip: bool,
    max_damaged: float = 0.0,
) -> LatentVideos:
    """Opens the cache of `source` by the codec of that id.

    Args:
      directory: the --output of `prepare latents`, or its copy at a gs:// path.
      source: the videos it must have been made from.
      codec_id: the codec it must have been made by.
      flip: whether mirrored frames are needed.
      max_damaged: the fraction of the videos that missing shards may hold.

    Raises:
      UserError: there is no cache, it is of another codec or of other videos, lacks mirrored
        frames, or too many shards are missing.
    """
    records = open_records(
        directory,
        SPLIT,
        required=("moments", "start"),
        how_to_make=(
            "  python -m glober_jax.prepare latents --input=DIR --workdir=DIR --output={directory}"
        ),
        max_damaged=max_damaged,
    )
    found = records.metadata
    again = "make it again with python -m glober_jax.prepare latents"
    for key, wanted, what in (
        (CODEC, codec_id, "frame codec"),
        (DATA, source.fingerprint, "data set"),
    ):
        if found[key] != wanted:
            raise UserError(
                f"the latents in {directory} were made from another {what} ({found[key]}) than "
                f"this run's ({wanted}): {again}"
            )
    if flip and not found[FLIP]:
        raise UserError(
            f"config.data.flip needs mirrored frames, which the latents in {directory} lack: set "
            f"it to False, or {again} from a workdir whose config has it"
        )
    return LatentVideos(records)


def latent_features(
    shape_hwM: tuple[int, int, int], *, flip: bool, text_info: TextInfo | None
) -> tfds.features.FeaturesDict:
    """The features of a record whose frames are moments of that shape."""
    # Other encodings store float16 as float32.
    moments = tfds.features.Tensor(shape=(None, *shape_hwM), dtype=np.float16, encoding="bytes")
    features = {"moments": moments, **video_features(text_info.width if text_info else None)}
    if flip:
        features["mirrored"] = moments
    return tfds.features.FeaturesDict(features)


def latent_example(record: LatentRecord) -> dict[str, Any]:
    """The record as `latent_features` takes it for serializing."""
    example = {
        "moments": record.moments_FhwM,
        "start": record.start,
        "num_frames": record.num_frames,
        "video_id": record.video_id,
        "label": record.label,
        "fps": record.fps,
        "caption": record.caption,
    }
    if record.mirrored_FhwM is not None:
        example["mirrored"] = record.mirrored_FhwM
    if record.text_LE is not None:
        example[TEXT] = record.text_LE
    return example


def latent_metadata(
    source: VideoSource, codec_id: str, shape_hwM: tuple[int, int, int], *, flip: bool
) -> dict[str, object]:
    """What a reader has to know of a cache of `source`, made by the codec of that id."""
    metadata = {
        CLASS_NAMES: list(source.class_names),
        CODEC: codec_id,
        DATA: source.fingerprint,
        FLIP: flip,
        SHAPE: list(shape_hwM),
    }
    return metadata | ({TEXT: asdict(source.text_info)} if source.text_info else {})
