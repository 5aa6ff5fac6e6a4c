"""The one record format every dataset is stored in, and the TFDS builder that writes it.

A record is one video, or one stretch of a long one: JPEG frames kept apart, so that a reader
decodes only the frames it uses. Records live in ArrayRecord shards under
`<output>/<dataset>/<version>/`, and need no TensorFlow to write or to read. Where videos have
captions, a record also holds its caption and that caption's token embeddings.

Dimension key: L tokens of a caption, E width of a token's embedding.
"""

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

FEATURES = ("frames", "num_frames", "video_id", "label", "fps")
CLASS_NAMES = "class_names"
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
    frames: list[bytes]
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


RecordStream = Callable[[], Iterator[VideoRecord]]


class VideoDatasetBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Writes streams of `VideoRecord`s, one stream per split. Subclasses give the name."""

    VERSION = tfds.core.Version("1.0.0")
    name = "videos"
    description = "Videos as separate JPEG frames."
    # Looked up by TFDS otherwise, through a package it does not require.
    code_path = epath.Path(__file__)

    def __init__(
        self,
        *,
        splits: Mapping[str, RecordStream],
        class_names: tuple[str, ...],
        data_dir: Path,
        text_info: TextInfo | None = None,
    ):
        """Prepares to write `splits` under `data_dir`; labels index `class_names`.

        With `text_info` every record must have a caption and its embeddings.
        """
        self._splits = splits
        self._class_names = class_names
        self._text_info = text_info
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        frame = tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")
        features = {
            "frames": tfds.features.Dataset(frame),
            "num_frames": np.int32,
            "video_id": tfds.features.Text(),
            "label": np.int64,
            "fps": np.float32,
        }
        metadata: dict[str, object] = {CLASS_NAMES: list(self._class_names)}
        if (info := self._text_info) is not None:
            features["caption"] = tfds.features.Text()
            # Other encodings store float16 as float32.
            features["text"] = tfds.features.Tensor(
                shape=(info.length, info.width), dtype=np.float16, encoding="bytes"
            )
            metadata[TEXT] = asdict(info)
        return self.dataset_info_from_configs(
            description=self.description,
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(metadata),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # The records are already on this machine.
        return {name: self._generate_examples(stream) for name, stream in self._splits.items()}

    def _generate_examples(self, stream: RecordStream) -> Iterator[tuple[str, dict]]:
        for record in stream():
            example = {
                # TFDS stores file objects as they are; arrays it would encode, by TensorFlow.
                "frames": [io.BytesIO(frame) for frame in record.frames],
                "num_frames": len(record.frames),
                "video_id": record.video_id,
                "label": record.label,
                "fps": record.fps,
            }
            if self._text_info is not None:
                example |= {"caption": record.caption, "text": record.text_LE}
            yield record.video_id, example


def write_records(builder: VideoDatasetBuilder) -> None:
    """Writes every split of the builder to its folder, quietly.

    TFDS would announce a download that does not happen and draw bars of its own.
    """
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare()
