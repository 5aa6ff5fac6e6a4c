"""The log must survive a kill, hold valid JSON and be readable by TensorBoard."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from etils import epath
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from glober_jax.errors import UserError
from glober_jax.training.metric_writer import MetricsWriter, read_metrics
from tests.full_disk import full_disk


def log_steps(folder: epath.PathLike, stage: str, steps: range) -> None:
    with MetricsWriter(folder, enabled=True) as writer:
        for step in steps:
            writer.write_scalars(stage, step, {"loss": 1 / step, "grad_norm": np.float32(step)})


def steps_of(folder: Path, stage: str) -> list[int]:
    return [r["step"] for r in read_metrics(folder / "metrics.jsonl") if r["stage"] == stage]


def test_scalars_reach_json_lines_and_tensorboard(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path / "logs", enabled=True) as writer:
        writer.write_scalars("codec", 5, {"loss": np.float32(0.5), "psnr": 20, "kl": math.nan})
        writer.write_image("codec", 5, "sheet", np.full((4, 6, 3), 7, np.uint8))
        # Already on disk before close: a killed process loses nothing.
        line = (tmp_path / "logs" / "metrics.jsonl").read_text()
    assert "NaN" not in line, "no JSON"
    record = json.loads(line)
    assert record.pop("time") > 1e9
    assert record == {"stage": "codec", "step": 5, "loss": 0.5, "psnr": 20.0, "kl": None}

    events = EventAccumulator(str(tmp_path / "logs")).Reload()
    assert sorted(events.Tags()["scalars"]) == ["codec/loss", "codec/psnr"]
    (scalar,) = events.Scalars("codec/loss")
    assert (scalar.step, scalar.value) == (5, 0.5)
    (image,) = events.Images("codec/sheet")
    assert (image.step, image.width, image.height) == (5, 6, 4)


def test_resume_discards_what_is_ahead_of_the_checkpoint(tmp_path: Path) -> None:
    log_steps(tmp_path, "codec", range(1, 9))
    log_steps(tmp_path, "generator", range(1, 8))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "generator", "step": 8, "ti')  # kill -9 in mid-write
    with MetricsWriter(tmp_path, enabled=True) as writer:
        writer.discard_after("generator", 4)
        writer.write_scalars("generator", 5, {"loss": 1.0})
    assert steps_of(tmp_path, "codec") == list(range(1, 9))
    assert steps_of(tmp_path, "generator") == [1, 2, 3, 4, 5]
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(line)
    # The three writers, opened within one second, left three event files.
    assert len(list(tmp_path.glob("events.*"))) == 3
    assert not list(tmp_path.glob(".*"))


def test_only_the_enabled_process_writes(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path / "logs", enabled=False) as writer:
        writer.discard_after("codec", 0)
        writer.write_scalars("codec", 1, {"loss": 1.0})
        writer.write_image("codec", 1, "sheet", np.zeros((2, 2, 3), np.uint8))
    assert not (tmp_path / "logs").exists()


def test_unwritable_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        MetricsWriter(tmp_path / "file" / "logs", enabled=True)


def test_remote_logs_are_uploaded_and_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local_path = epath.Path
    monkeypatch.setattr(epath, "Path", lambda p: local_path(str(p).replace("gs:/", str(tmp_path))))
    for steps in (range(1, 4), range(4, 6)):
        log_steps("gs://bucket/run/logs", "codec", steps)
    folder = tmp_path / "bucket" / "run" / "logs"
    assert steps_of(folder, "codec") == [1, 2, 3, 4, 5]
    assert len(list(folder.glob("events.*"))) == 2


def test_a_full_disk_costs_points_and_no_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fails when it ends the run or holds it up for ever, or lines are lost or torn."""
    with MetricsWriter(tmp_path, enabled=True) as writer:
        writer.write_scalars("codec", 0, {"loss": 1.0})
        with full_disk(limit=100):
            for step in range(1, 50):
                writer.write_scalars("codec", step, {"loss": 1 / step})
            writer.write_image("codec", 49, "sheet", np.zeros((64, 64, 3), np.uint8))
        writer.write_scalars("codec", 50, {"loss": 1.0})
    warning = f"warning: the log in {tmp_path} cannot be written (File too large); training goes on"
    assert capsys.readouterr().err.splitlines() == [warning]
    assert steps_of(tmp_path, "codec") == list(range(51))
    scalars = EventAccumulator(str(tmp_path)).Reload().Scalars("codec/loss")
    assert scalars[-1].step == 50
