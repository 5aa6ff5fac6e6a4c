"""What is wrong in a shard and in its records is found, named, and nothing else is."""

import dataclasses
import json
import os
import random
import shutil
from collections.abc import Callable, Sequence
from multiprocessing.pool import Pool
from pathlib import Path

import pytest
from PIL import Image

from glober_jax.data.frames import encode_jpeg
from glober_jax.data.schema import deserialize, serialize
from tests.data.doctor.planting import (
    FRAMES,
    change_example,
    edit_second,
    examined,
    flip,
    found_in,
    replace,
    rewrite,
    shards_of,
)
from tests.texts import write_captioned


def test_healthy_dataset_gives_no_finding(whole: Path) -> None:
    """Fails when something is found in what prepare wrote, or counted wrongly."""
    diagnosis = examined(whole)
    assert list(diagnosis.findings) == []
    assert (diagnosis.videos, diagnosis.frames) == (14, 14 * FRAMES)
    assert "prepare video_folder" in diagnosis.command


def test_healthy_captions_give_no_finding(tmp_path: Path) -> None:
    """Fails when embedded captions come back other than stored (broken: as float32)."""
    folder = write_captioned(tmp_path)
    assert list(examined(folder).findings) == []
    (shard,) = shards_of(folder, "test")
    rewrite(shard, lambda old: [change_example(old[0], _spoil_text), *old[1:]])
    assert found_in(folder) == [("record", shard.name, 0)]
    metadata = shard.parent / "metadata.json"
    content = json.loads(metadata.read_text())
    del content["text"]
    metadata.write_text(json.dumps(content))
    assert found_in(folder) == [("description", "", None), ("record", shard.name, 0)]


def _spoil_text(features: dict) -> None:
    text = features["text"].bytes_list.value
    text[0] = b"\xff" * len(text[0])


CUT = "cannot be opened, it was cut short or its index is damaged; it held 2 records"
DAMAGED_SHARDS = {
    "missing": ("is missing; it held 2 records", lambda path: replace(path, None)),
    "empty": ("cannot be opened, it is empty; it held 2", lambda path: replace(path, b"")),
    "garbage": (CUT, lambda path: replace(path, random.Random(0).randbytes(200_000))),
    "folder": ("is missing; it held 2 records", lambda path: (path.unlink(), path.mkdir())),
    "pipe": ("is missing; it held 2 records", lambda path: (path.unlink(), os.mkfifo(path))),
    "cut": (CUT, lambda path: replace(path, path.read_bytes()[:-1])),
    "index": (CUT, lambda path: flip(path, path.stat().st_size - 2**16 + 50)),
    "one record less": (
        "holds 1 records, not 2",
        lambda path: rewrite(path, lambda old: old[:-1]),
    ),
    "one record more": (
        "holds 3 records, not 2",
        lambda path: rewrite(path, lambda old: [*old, _renamed(old[0])]),
    ),
}


def _renamed(record: bytes) -> bytes:
    fresh = [encode_jpeg(Image.new("RGB", (16, 16), (9 * number, 0, 0))) for number in range(4)]
    return serialize(dataclasses.replace(deserialize(record, None), video_id="new", frames=fresh))


@pytest.mark.parametrize(("what", "damage"), DAMAGED_SHARDS.values(), ids=DAMAGED_SHARDS.keys())
def test_damaged_shard_is_the_one_finding(
    copy: Path, what: str, damage: Callable[[Path], object]
) -> None:
    """Fails when a shard is not found damaged, or hides the rest, or more is found than that.

    Broken: pipes taken for files, which is waiting for ever; no look at whether the reader is open;
    no comparison of the number of records.
    """
    shard = shards_of(copy)[1]
    damage(shard)
    (finding,) = (diagnosis := examined(copy)).findings
    assert (finding.kind, finding.split, finding.shard) == ("shard", "train", shard.name)
    assert finding.what.startswith(what)
    assert diagnosis.videos >= 12


def test_changed_bytes_are_found_wherever_they_are(copy: Path) -> None:
    """Fails when records are not named, or bytes that no reader reads may change unseen."""
    header, first, second, both, padding = shards_of(copy)
    flip(header, 30)
    flip(first, 1000)
    flip(second, 8000)
    flip(both, 200, length=6000)
    flip(padding, 60_000)
    expected = [("record", first.name, 0), ("record", second.name, 1), ("record", both.name, 0)]
    expected += [("content", header.name, None), ("content", padding.name, None)]
    assert found_in(copy) == expected
    (found,) = [found.what for found in examined(copy).findings if found.shard == both.name]
    assert found == "cannot be read, nor can the 1 after it: bytes were changed"


def _with_frames(frames: Callable[[Sequence[bytes]], list[bytes]]) -> Callable[[Path], None]:
    return lambda path: edit_second(
        path,
        lambda record: dataclasses.replace(
            record, frames=(changed := frames(record.frames)), num_frames=len(changed)
        ),
    )


def _set(name: str, kind: str, value: object) -> Callable[[Path], None]:
    def change(features: dict) -> None:
        getattr(features[name], kind).value[:] = [value] if value is not None else []

    return lambda path: rewrite(
        path, lambda old: [old[0], change_example(old[1], change), *old[2:]]
    )


LARGE = encode_jpeg(Image.new("RGB", (24, 24)))
BAD_RECORDS = {
    "no example": ("record", lambda path: rewrite(path, lambda old: [old[0], b"x", *old[2:]])),
    "count": ("record", _set("num_frames", "int64_list", 5)),
    "no count": ("record", _set("num_frames", "int64_list", None)),
    "label": ("record", _set("label", "int64_list", 2)),
    "rate": ("record", _set("fps", "float_list", float("nan"))),
    "id": ("record", _set("video_id", "bytes_list", b"\xff\xfe")),
    "cut frame": ("frames", _with_frames(lambda old: [*old[:2], old[2][:-40], old[3]])),
    "no frame": ("frames", _with_frames(lambda old: [b"", *old[1:]])),
    "large frame": ("frame_size", _with_frames(lambda old: [*old[:3], LARGE])),
    # These two are as good as any by themselves.
    "large": ("content frame_size", _with_frames(lambda old: [LARGE] * 3)),
    "short": ("content short_clip", _with_frames(lambda old: old[:1])),
}


@pytest.mark.parametrize(("kinds", "plant"), BAD_RECORDS.values(), ids=BAD_RECORDS.keys())
def test_bad_record_is_found_and_named(
    copy: Path, kinds: str, plant: Callable[[Path], None]
) -> None:
    """Fails when a check of records is left out (broken: each of them), or finds more."""
    shard = shards_of(copy)[2]
    plant(shard)
    *content, kind = kinds.split()
    expected = [(name, shard.name, None) for name in content]
    assert found_in(copy) == [*expected, (kind, shard.name, 1)]


def test_a_frame_that_claims_to_be_huge_is_not_decoded(copy: Path) -> None:
    """Fails when a few bytes can take half a minute and 12 GB (broken: no look at the header)."""

    def inflate(frames: Sequence[bytes]) -> list[bytes]:
        size = frames[0].index(b"\xff\xc0") + 5
        return [frames[0][:size] + b"\xff\xdc\xff\xdc" + frames[0][size + 4 :], *frames[1:]]

    _with_frames(inflate)(shards_of(copy)[0])
    (finding,) = examined(copy).findings
    assert finding.kind == "frames"
    assert "bytes for 65500x65500 pixels" in finding.what


def _sweep(whole: Path, root: Path) -> list[list[tuple[str, str]]]:
    """Truncations at every tenth and random changes of one shard: what is found each time."""
    shard = shards_of(whole)[3]
    data, draw = shard.read_bytes(), random.Random(0)
    damaged = [data[: len(data) * tenth // 10] for tenth in range(10)]
    for _ in range(20):
        changed = bytearray(data)
        start = draw.randrange(len(data))
        changed[start : start + draw.choice((1, 64, 4096))] = draw.randbytes(draw.choice((1, 64)))
        damaged.append(bytes(changed))
    results = []
    for content in damaged:
        folder = shutil.copytree(whole, root / "swept", dirs_exist_ok=True)
        shards_of(folder)[3].write_bytes(content)
        results.append([(found.kind, found.shard) for found in examined(folder).findings])
    return results


def test_no_damage_hangs_crashes_or_goes_unseen(
    whole: Path, tmp_path: Path, elsewhere: Pool
) -> None:
    """Fails by time-out when a shard brings the process down or keeps it waiting."""
    results = elsewhere.apply_async(_sweep, (whole, tmp_path)).get(timeout=60)
    assert len(results) == 30
    for found in results:
        assert found
        assert {shard for _, shard in found} == {shards_of(whole)[3].name}
    assert {kind for found in results[:10] for kind, _ in found} == {"shard"}
