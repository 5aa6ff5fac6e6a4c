"""Progress must be short in a log file and one bar on a terminal."""

import contextlib
import errno
import os
import termios
from types import SimpleNamespace

import numpy as np
import pytest

from glober_jax import progress as progress_module
from glober_jax.progress import Progress
from glober_jax.training.watchdog import Watchdog


def read_to_hangup(terminal: int) -> str:
    """Everything written to a pseudo-terminal whose other end is closed; closes this end."""
    chunks = []
    with contextlib.suppress(OSError):
        while chunk := os.read(terminal, 65536):
            chunks.append(chunk)
    os.close(terminal)
    return b"".join(chunks).decode()


def test_progress_off_a_terminal_stays_short(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    clock = iter(np.arange(10_000) * 0.1)
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: float(next(clock)))
    with Progress("codec", 2000, 1000) as progress:
        for step in range(1001, 2001):
            progress.update(step, {"a": 1, "b": 2, "c": 3, "d": 4, "the_loss": 0.25})
    lines = capsys.readouterr().err.splitlines()
    # 1000 updates in 100 s: the first, one every 15 s, and the last.
    assert len(lines) == 2 + 6
    assert lines[0].startswith("codec 1001/2000 (50%)") and "ETA" not in lines[0]
    assert "10 steps/s, ETA 01:24 | the_loss 0.25, a 1, b 2, c 3" in lines[1]
    assert "d 4" not in lines[1]
    assert lines[-1].startswith("codec 2000/2000 (100%)")


def test_progress_on_a_terminal_is_one_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, terminal = os.openpty()
    with os.fdopen(terminal, "w") as stderr:
        monkeypatch.setattr("sys.stderr", stderr)
        termios.tcsetwinsize(terminal, (24, 100))
        with Progress("codec", 20, 10) as progress:
            progress.update(15, {"loss": 0.5})
            progress.update(20)
    shown = read_to_hangup(reader)
    assert "codec" in shown and "20/20" in shown and "loss 0.5" in shown
    assert shown.count("\n") == 1


def test_a_full_disk_behind_stderr_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when a slow step cannot be reported, and training ends for it."""

    def full(text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sys.stderr", SimpleNamespace(write=full))
    Watchdog("codec", slow_step=10.0)._report("took 3 s", {"saving": 3.0})


def test_only_the_enabled_process_shows_progress(capsys: pytest.CaptureFixture) -> None:
    with Progress("codec", 10, 0, enabled=False) as progress:
        progress.update(10, {"loss": 1.0})
    assert capsys.readouterr().err == ""


def test_advancing_counts_up_from_the_start(capsys: pytest.CaptureFixture) -> None:
    with Progress("drawing", 10, 4, unit="video") as progress:
        progress.advance(1)
        progress.advance(5)
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("drawing 5/10") and last.startswith("drawing 10/10")
    assert "videos/s" in last
