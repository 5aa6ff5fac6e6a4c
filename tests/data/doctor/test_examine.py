"""What only all shards together show, whoever reads them; and what the command makes of it."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from array_record.python.array_record_module import ArrayRecordReader

from glober_jax.data.doctor import examine as examine_module
from glober_jax.data.doctor.examine import examine
from glober_jax.data.schema import deserialize
from glober_jax.errors import UserError
from tests.data.doctor.planting import (
    edit_second,
    examined,
    flip,
    found_in,
    shards_of,
)


def test_swapped_shards_are_found(copy: Path) -> None:
    """Fails when shards may change places: by checksum, or by fingerprint where there is none.

    Broken: no use of either; no fingerprint from the card where that is the only one.
    """
    one, two, *_ = shards_of(copy)
    contents = one.read_bytes(), two.read_bytes()
    two.write_bytes(contents[0])
    one.write_bytes(contents[1])
    assert found_in(copy) == [("content", one.name, None), ("content", two.name, None)]
    metadata = one.parent / "metadata.json"
    content = json.loads(metadata.read_text())
    del content["checksums"]
    metadata.write_text(json.dumps(content))
    (finding,) = examined(copy).findings
    assert (finding.kind, finding.split, finding.shard) == ("content", "train", "")
    assert content["fingerprint"]["train"] in finding.what
    metadata.unlink()
    assert [found.kind for found in examined(copy).findings] == ["description", "content"]


def test_ids_are_unique_within_a_split(copy: Path) -> None:
    """Fails when two records may have one name."""
    one, two, *_ = shards_of(copy)
    name = deserialize(ArrayRecordReader(str(one)).read([0])[0], None).video_id
    edit_second(two, lambda record: dataclasses.replace(record, video_id=name))
    finding = next(found for found in examined(copy).findings if found.kind == "video_id")
    assert (finding.shard, finding.record, finding.video_id) == (two.name, 1, name)
    assert one.name in finding.what


def test_processes_change_nothing(copy: Path) -> None:
    """Fails when findings depend on who was first, or a record's place on its process."""
    for number, shard in enumerate(shards_of(copy)):
        flip(shard, 1000 + 100 * number)
    assert examine(copy, min_frames=9, workers=2) == examine(copy, min_frames=9)


def test_shards_may_be_finished_in_any_order(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when a fingerprint is of the records as they came."""
    run = examine_module.run_tasks
    monkeypatch.setattr(
        examine_module,
        "run_tasks",
        lambda check, tasks, *args, **kwargs: run(check, tasks[::-1], *args, **kwargs),
    )
    assert not examined(whole).findings


def test_dead_worker_names_the_shards(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails by time-out or with a stack of frames when a worker is killed."""
    monkeypatch.setattr(examine_module, "CheckShard", _Die)
    with pytest.raises(UserError, match=r"worked on one of video_folder-test.array_record-0"):
        examine(whole, min_frames=2, workers=2)


@dataclasses.dataclass(frozen=True)
class _Die:
    text_shape: object
    num_labels: object
    min_frames: object

    def __call__(self, shard: object, on_count: object) -> None:
        os._exit(1)


def _run(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "glober_jax.prepare", "doctor", f"--input={folder}"]
    command += ["--min_frames=2", "--workers=1"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_command_line(copy: Path) -> None:
    """Fails when a script could not tell by the status, or people by the text, what was found."""
    healthy = _run(copy)
    assert (healthy.returncode, healthy.stdout) == (0, "healthy: 14 videos, 56 frames read\n")
    assert json.loads((copy / "doctor.json").read_text())["healthy"]
    (copy / "doctor.json").unlink()
    (copy / "doctor.json").mkdir()
    shard = shards_of(copy)[0]
    shard.unlink()
    damaged = _run(copy)
    assert damaged.returncode == 1
    assert f"damaged shards: 1\n  {shard.name}: is missing; it held 2 records\n" in damaged.stdout
    assert "full report cannot be written" in damaged.stdout
    *_, last = damaged.stderr.splitlines()
    assert last.startswith(f"error: 1 finding in {copy}: copy it again, or run python -m")
    assert "--overwrite" in last and "max_damaged" in last
    (copy / "doctor.json").rmdir()
    _run(copy)
    report = json.loads((copy / "doctor.json").read_text())
    (finding,) = report["findings"]
    assert (finding["kind"], finding["split"], finding["shard"]) == ("shard", "train", shard.name)


def test_what_is_no_dataset_of_prepare_is_refused(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no data set of videos that prepare made: pass the"):
        examined(tmp_path / "none")
    (tmp_path / "mnist" / "3.0.1").mkdir(parents=True)
    (tmp_path / "mnist" / "3.0.1" / "dataset_info.json").write_text("{}")
    with pytest.raises(UserError, match="prepare made, only mnist: pass"):
        examined(tmp_path)
    shutil.copytree(whole / "video_folder", tmp_path / "two" / "video_folder")
    shutil.copytree(whole / "video_folder", tmp_path / "two" / "webvid")
    with pytest.raises(UserError, match=r"several datasets \(video_folder, webvid\)"):
        examined(tmp_path / "two")
