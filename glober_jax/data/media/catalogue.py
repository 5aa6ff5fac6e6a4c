"""Labelled videos in a dataset that TFDS has prepared from its catalogue, such as `ucf101`.

TFDS itself needs TensorFlow to read them; here none is. A shard is a TFRecord or ArrayRecord file.
A record is a serialized `tf.train.Example` with the features `video`, a list of encoded images,
and `label`, an integer. A TFRecord file repeats: length uint64, checksum uint32, record, checksum
uint32, little-endian. Only the lengths are checked.

Source: https://www.tensorflow.org/tutorials/load_data/tfrecord,
https://protobuf.dev/programming-guides/encoding/.
"""

import json
import mmap
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordReader

from glober_jax.data.media.tree import Listing, MediaItem, Record, Rejection
from glober_jax.errors import UserError

_FEATURES = "features.json"
_LABELS = "label.labels.txt"
_SHARD = re.compile(
    r"[\w-]+-(?P<split>train|test)\.(tfrecord|array_record)-(?P<number>\d+)-of-(?P<count>\d+)"
)


def find_prepared(root: Path, name: str) -> list[Path]:
    """Folders of prepared datasets, sorted; `root` may be one, or hold configs of dataset `name`
    at `<version>`, `<config>/<version>` or `<name>/<config>/<version>`."""
    files = (f"{place}{_FEATURES}" for place in ("", "*/", "*/*/", f"{name}/*/*/"))
    return sorted(path.parent for file in files for path in root.glob(file))


def list_prepared(folder: Path) -> Listing:
    """The videos of one prepared dataset.

    Raises:
      UserError: it is no dataset of labelled videos, or a shard of it is missing.
    """
    class_names = _class_names(folder)
    items: list[MediaItem] = []
    rejections: list[Rejection] = []
    for path, split in _shards(folder):
        try:
            for number, (record, data) in enumerate(_records(path)):
                video_id = f"{path.name}/{number:05d}"
                try:
                    class_name = class_names[_label(data)]
                except (ValueError, KeyError, IndexError):
                    rejections.append(Rejection(video_id, "holds no label of a known class"))
                    continue
                items.append(MediaItem(video_id, (path,), False, split, class_name, record=record))
        except OSError as error:
            rejections.append(Rejection(path.name, str(error)))
    return Listing(tuple(items), tuple(rejections), class_names)


def read_frames(path: Path, record: Record) -> list[bytes]:
    """The encoded images of one record.

    Raises:
      OSError: the record cannot be read, or holds no video.
    """
    if _is_array_record(path):
        data = _array_record(path, record.position)
    else:
        with path.open("rb") as file:
            file.seek(record.position)
            data = file.read(record.num_bytes)
    try:
        images = dict(_fields(_feature(memoryview(data), b"video")))[1]
        return [bytes(image) for _, image in _fields(images)]
    except (ValueError, KeyError) as error:
        raise OSError(f"the record is damaged: {error}") from error


def _class_names(folder: Path) -> tuple[str, ...]:
    try:
        features = json.loads((folder / _FEATURES).read_text(encoding="utf-8"))
        names = (folder / _LABELS).read_text(encoding="utf-8").split()
        if not {"video", "label"} <= features["featuresDict"]["features"].keys():
            raise KeyError("video")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"--input={folder} is a dataset prepared by TFDS, but not one of labelled videos such "
            "as the catalogue's ucf101"
        ) from error
    return tuple(names)


def _shards(folder: Path) -> list[tuple[Path, str]]:
    """All shards and their splits, in order."""
    found = [(path, match) for path in folder.iterdir() if (match := _SHARD.fullmatch(path.name))]
    for split in ("train", "test"):
        own = [match for _, match in found if match["split"] == split]
        count = max((int(match["count"]) for match in own), default=1)
        if missing := set(range(count)) - {int(match["number"]) for match in own}:
            raise UserError(
                f"--input={folder} lacks shard {min(missing)} of {count} of its split {split}: "
                "copy the dataset again, or prepare it again with TFDS"
            )
    return sorted((path, match["split"]) for path, match in found)


def _records(path: Path) -> Iterator[tuple[Record, memoryview]]:
    """All records of a shard; raises OSError, after those before it, where it is damaged."""
    if _is_array_record(path):
        for position in range(_with_reader(path, ArrayRecordReader.num_records)):
            data = _array_record(path, position)
            yield Record(position, len(data)), memoryview(data)
        return
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise OSError("the file is empty")
        # A label is found without reading the video beside it.
        shard = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    start = 0
    while start < len(shard):
        if start + 12 > len(shard):
            raise OSError(f"damaged: the file ends within the record at byte {start}")
        (length,) = struct.unpack("<Q", shard[start : start + 8])
        begin, end = start + 12, start + 12 + length
        if end + 4 > len(shard):
            raise OSError(f"damaged: the record at byte {start} reaches beyond the end of the file")
        yield Record(begin, length), shard[begin:end]
        start = end + 4


def _array_record(path: Path, position: int) -> bytes:
    return _with_reader(path, lambda reader: reader.read([position]))[0]


def _is_array_record(path: Path) -> bool:
    return ".array_record-" in path.name


def _with_reader(path: Path, read: Callable[[ArrayRecordReader], Any]) -> Any:
    try:
        reader = ArrayRecordReader(str(path))
        try:
            return read(reader)
        finally:
            reader.close()
    except (RuntimeError, ValueError, IndexError) as error:
        raise OSError(f"damaged: {error}") from error


def _label(example: memoryview) -> int:
    integers = dict(_fields(_feature(example, b"label")))[3]
    return _varint(dict(_fields(integers))[1], 0)[0]


def _feature(example: memoryview, name: bytes) -> memoryview:
    """The message `tf.train.Feature` of that name."""
    for _, features in _fields(example):
        for _, entry in _fields(features):
            parts = dict(_fields(entry))
            if parts.get(1) == name:
                return parts[2]
    raise ValueError(f"it has no feature {name.decode()}")


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each field of a protobuf message whose fields all have a length."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        length, at = _varint(message, at)
        if tag & 7 != 2 or at + length > len(message):
            raise ValueError("it is no tf.train.Example")
        yield tag >> 3, message[at : at + length]
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The integer at byte `at`, 7 bits a byte, lowest first; and the byte after it."""
    value = shift = 0
    while at < len(data):
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at
    raise ValueError("it ends within a number")
