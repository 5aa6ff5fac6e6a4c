"""Several processes on this machine that train as one."""

import contextlib
import multiprocessing
import os
import random
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from glober_jax.training.metric_writer import read_metrics
from tests.end_to_end.commands import SMALL_SHARDS, Commands

# Far more than a collective takes to fail. Between two, as in a save, JAX notices only after 100 s
# that a process is gone.
END_SECONDS = 10


class Process:
    """One of them, and what it says."""

    def __init__(self, process: multiprocessing.Process, stderr: Path) -> None:
        self._process, self._stderr = process, stderr
        self.kill = process.kill

    def poll(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._process.exitcode

    def terminate(self) -> None:
        """Sends SIGTERM."""
        os.kill(self._process.pid, signal.SIGTERM)

    def said(self) -> str:
        """All that it wrote to stderr."""
        return self._stderr.read_text()

    def wait(self, seconds: float = 1800) -> int | None:
        """Its exit status, None where it still runs after that time."""
        self._process.join(seconds)
        return self.poll()


@contextlib.contextmanager
def started(
    commands: Commands, flags: list[str], processes: int, devices: int = 1
) -> Iterator[list[Process]]:
    """`processes` of `devices` each, for whose training tiny parameters count as large.

    None outlives the block.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    flags = [*flags, f"--coordinator={address}", f"--num_processes={processes}"]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = []
        for index in range(processes):
            stderr = folder / str(index)
            stderr.touch()
            command = [SMALL_SHARDS, *flags, f"--process_id={index}"]
            process = Process(commands.fork(*command, stderr=stderr, devices=devices), stderr)
            stack.callback(process.wait)
            stack.callback(process.kill)
            found.append(process)
        yield found


def metrics_by_step(workdir: Path, stage: str) -> dict[tuple[int, str], dict[str, float]]:
    """Values by step and by what was logged there."""
    found = {}
    for record in read_metrics(workdir / "logs" / "metrics.jsonl"):
        values = {n: v for n, v in record.items() if n not in ("stage", "step", "time")}
        if record["stage"] == stage:
            found[record["step"], min(values)] = values
    return found


def wait_until_trained(workdir: Path, processes: list[Process], steps: int = 1) -> None:
    """Returns when these processes have logged so many losses."""
    begin = time.time()
    while steps > sum(
        "loss" in record and record["time"] > begin
        for record in read_metrics(workdir / "logs" / "metrics.jsonl")
    ):
        for process in processes:
            assert process.poll() is None, process.said()
        time.sleep(0.02)


def kill_one(workdir: Path, processes: list[Process], draw: random.Random) -> None:
    """Kills one of them within 0.2 s of one of its first four losses.

    The others end by themselves, or are killed where that takes long, as a scheduler does.
    """
    victim = draw.randrange(len(processes))
    steps, delay = draw.randint(1, 4), draw.uniform(0, 0.2)
    wait_until_trained(workdir, processes, steps)
    time.sleep(delay)
    killed = processes[victim]
    killed.kill()
    assert killed.wait() == -signal.SIGKILL, killed.said()
    statuses = []
    for index, process in enumerate(processes):
        if index == victim:
            continue
        statuses.append(process.wait(END_SECONDS))
        if statuses[-1] is None:
            process.kill()
            continue
        # JAX itself ends the others when process 0 is gone, and may be faster.
        assert statuses[-1] in (1, -signal.SIGABRT), process.said()
        if statuses[-1] == 1:
            assert "if another process of this run failed or was killed" in process.said()
    unfinished = [str(f.relative_to(workdir)) for f in workdir.glob("*/*tmp*")]
    print(
        f"killed process {victim} {delay:.2f} s after {steps} losses; the others: {statuses}; "
        f"saves it was in: {unfinished or 'none'}",
        flush=True,
    )
