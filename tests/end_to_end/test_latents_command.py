"""`prepare latents`, and a run that trains on what it made."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from glober_jax.training.metric_writer import read_metrics
from tests.tiny import QUICK_TO_COMPILE


def _losses(workdir: Path) -> list[tuple[int, float]]:
    records = read_metrics(workdir / "logs" / "metrics.jsonl")
    return [(r["step"], r["loss"]) for r in records if r["stage"] == "autoencoder" and "loss" in r]


def _start(commands: Any, flags: tuple[str, ...], task: int) -> subprocess.Popen[str]:
    """Begins `prepare latents` as one of two tasks of a SLURM step."""
    # Of the job's number JAX makes the port.
    step = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "localhost"}
    step |= {"SLURM_NTASKS": "2", "SLURM_PROCID": str(task), "SLURM_LOCALID": str(task)}
    xla = f"{QUICK_TO_COMPILE} --xla_force_host_platform_device_count=1"
    return subprocess.Popen(
        [sys.executable, "-m", "glober_jax.prepare", "latents", *flags],
        cwd=Path(__file__).parents[2],
        env=commands.environment | step | {"XLA_FLAGS": xla},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_training_on_prepared_latents_is_the_same_training(
    commands: Any, finished: Path, tmp_path: Path
) -> None:
    """Fails when latents made by two processes differ from those that a run makes for itself, when
    they are not used, or when a second call makes them again."""
    latents, workdir = tmp_path / "latents", tmp_path / "run"
    flags = (f"--input={commands.data}", f"--workdir={finished}", f"--output={latents}")
    for process in [_start(commands, flags, task) for task in range(2)]:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    assert "8 videos" in (latents / "data_card.md").read_text()
    assert "already prepared" in commands.succeed("prepare", "latents", *flags).stdout

    shutil.copytree(finished / "codec", workdir / "codec")
    train = [*commands.train_flags(workdir), "--stage=autoencoder"]
    commands.succeed("main", *train, f"--config.data.latents_dir={latents}")
    assert _losses(workdir) == _losses(finished)
    assert not (workdir / "latents").exists()

    message = commands.refuse("prepare", "latents", *flags[:2])
    assert message == "error: latents needs --output=DIR"
