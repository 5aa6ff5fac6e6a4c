"""A small data set with several shards, and ways to damage it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from glober_jax.data.datasets.make import make_dataset
from glober_jax.data.datasets.video_folder import VideoFolderOptions
from glober_jax.data.doctor.examine import Diagnosis, examine
from glober_jax.data.schema import VideoRecord, deserialize, serialize

FRAMES = 4
VIDEOS = {"train": 10, "test": 4}


def write_video(folder: Path, frames: np.ndarray) -> None:
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number}.png")


def make(videos: Path, output: Path) -> Path:
    options = VideoFolderOptions(
        input=str(videos), size=16, min_frames=1, max_frames=64, class_folders=True
    )
    make_dataset(options, output)
    return output


def shards_of(folder: Path, split: str = "train") -> list[Path]:
    return sorted(folder.glob(f"video_folder/*/*-{split}.array_record*"))


def examined(folder: Path) -> Diagnosis:
    return examine(folder, min_frames=2)


def found_in(folder: Path) -> list[tuple[str, str, int | None]]:
    """Kind, shard and record of all findings."""
    return [(found.kind, found.shard, found.record) for found in examined(folder).findings]


def flip(path: Path, start: int, length: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[start : start + length] = bytes(byte ^ 255 for byte in data[start : start + length])
    path.write_bytes(data)


def rewrite(path: Path, change: Callable[[list[bytes]], Sequence[bytes]]) -> None:
    """A shard as valid as before, of other records."""
    records = ArrayRecordReader(str(path)).read_all()
    writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
    for record in change(records):
        writer.write(record)
    writer.close()


def edit_second(path: Path, edit: Callable[[VideoRecord], VideoRecord]) -> None:
    """Changes the second record."""
    rewrite(path, lambda old: [old[0], serialize(edit(deserialize(old[1], None))), *old[2:]])


def change_example(record: bytes, change: Callable[[dict], None]) -> bytes:
    example = tf_example_pb2.Example.FromString(record)
    change(example.features.feature)
    return example.SerializeToString()


def replace(path: Path, content: bytes | None) -> None:
    path.unlink()
    if content is not None:
        path.write_bytes(content)
