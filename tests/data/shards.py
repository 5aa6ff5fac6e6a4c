"""A prepared data set written once more in several shards, with damage in its records if wanted."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter


def reshard(
    folder: Path,
    target: Path,
    split: str,
    num_shards: int,
    change: Callable[[int, bytes], bytes] = lambda index, record: record,
) -> list[Path]:
    """Copies `folder` to `target` with that split in shards of one length; returns their paths.

    `change` makes what is written of (place in the split, serialised record).
    """
    shutil.copytree(folder, target)
    (info_file,) = target.glob("*/*/dataset_info.json")
    (old,) = info_file.parent.glob(f"*-{split}.array_record*")
    reader = ArrayRecordReader(str(old))
    records = reader.read_all()
    reader.close()
    old.unlink()
    stem = old.name.rsplit("-", 3)[0]
    length, rest = divmod(len(records), num_shards)
    assert rest == 0
    shards = []
    for number in range(num_shards):
        shards.append(info_file.parent / f"{stem}-{number:05d}-of-{num_shards:05d}")
        writer = ArrayRecordWriter(str(shards[-1]), "group_size:1")
        for index in range(number * length, (number + 1) * length):
            writer.write(change(index, records[index]))
        writer.close()
    info = json.loads(info_file.read_text())
    for entry in info["splits"]:
        if entry["name"] == split:
            entry["shardLengths"] = [str(length)] * num_shards
    info_file.write_text(json.dumps(info))
    return shards


def without_jpeg_start(record: bytes, frame: int) -> bytes:
    """The record with one frame that no decoder takes for an image."""
    parts = record.split(b"\xff\xd8\xff")
    head, tail = parts[: frame + 1], parts[frame + 1 :]
    return b"\xff\xd8\xff".join(head) + b"\x00\x00\x00" + b"\xff\xd8\xff".join(tail)


def rewrite(path: Path, change: Callable[[list[bytes]], Sequence[bytes]]) -> None:
    """A shard as valid as before, of other records."""
    records = ArrayRecordReader(str(path)).read_all()
    writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
    for record in change(records):
        writer.write(record)
    writer.close()
