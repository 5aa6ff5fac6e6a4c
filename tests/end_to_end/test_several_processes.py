"""Two processes of one device each train as one process of two devices does, and stop together."""

import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glober_jax.training.metrics import read_metrics

LAST_STEP = 8
# One stage: they share the loop, and of an adversary there is nothing to see here.
FLAGS = (
    "--stage=codec",
    f"--config.codec.steps={LAST_STEP}",
    "--config.codec.adversarial.weight=0.0",
    "--config.loop.preview_every=0",
    "--config.loop.checkpoint_every=0",
    "--config.data.cache_latents=False",
)


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that do not outlive the test, however it ends."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def test_stopped_together_they_end_as_one(
    commands: Any, started: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    """Fails when processes read the same rows, sum a loss, or SIGTERM to one leaves the other.

    Broken: each process stops at its own request, and the other waits for ever.
    """
    alone = commands.run("main", *commands.train_flags(tmp_path / "alone"), *FLAGS, devices=2)
    assert alone.returncode == 0, alone.stderr
    workdir = tmp_path / "both"

    first, second = _start(commands, workdir)
    started += [first, second]
    _wait_until_logged(workdir, (first, second))
    second.send_signal(signal.SIGTERM)
    # Only the first process says anything but how it stopped.
    stopped = [re.search(r"codec saved at step (\d+)", _end(p)) for p in (first, second)]
    assert all(stopped) and stopped[0][1] == stopped[1][1], stopped
    assert int(stopped[0][1]) < LAST_STEP
    again = _start(commands, workdir)
    started += again
    for process in again:
        assert "Traceback" not in _end(process)

    one, two = _metrics(tmp_path / "alone"), _metrics(workdir)
    assert two.keys() == one.keys() and len(one) > LAST_STEP
    for step, values in one.items():
        assert two[step] == pytest.approx(values, rel=1e-5), step
    losses = [values["loss"] for values in one.values() if "loss" in values]
    assert np.ptp(losses) > 0.1


def _start(commands: Any, workdir: Path) -> list[subprocess.Popen[str]]:
    """Both processes; what they write to stderr is read by `_end`."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    together = (f"--coordinator=localhost:{port}", "--num_processes=2")
    flags = (*commands.train_flags(workdir), *FLAGS, *together)
    return [
        commands.start("main", *flags, f"--process_id={index}", stderr=subprocess.PIPE)
        for index in range(2)
    ]


def _end(process: subprocess.Popen[Any]) -> str:
    """What a process wrote, once it has ended well."""
    _, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stderr
    return stderr


def _wait_until_logged(workdir: Path, processes: tuple[subprocess.Popen[str], ...]) -> None:
    """Returns when step 0 is logged: the first update has to be compiled, and is far away."""
    while not read_metrics(workdir / "logs" / "metrics.jsonl"):
        for process in processes:
            assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


def _metrics(workdir: Path) -> dict[tuple[int, str], dict[str, float]]:
    """Values by step and by what was logged there."""
    records = read_metrics(workdir / "logs" / "metrics.jsonl")
    return {
        (record["step"], min(record.keys() - {"stage", "step", "time"})): {
            name: value for name, value in record.items() if name not in ("stage", "step", "time")
        }
        for record in records
    }
