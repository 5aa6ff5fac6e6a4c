"""Several processes on this machine that train as one."""

import contextlib
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from glober_jax.training.metric_writer import read_metrics
from tests.end_to_end.conftest import SMALL_SHARDS

# Far more than a collective takes to fail. Between two, as in a save, JAX notices only after 100 s
# that a process is gone.
END_SECONDS = 20


class Process:
    """One of them, and what it says."""

    def __init__(self, popen: subprocess.Popen[str], stderr: IO[str]) -> None:
        self._popen, self._stderr = popen, stderr
        self.kill, self.send_signal, self.poll = popen.kill, popen.send_signal, popen.poll

    def said(self) -> str:
        """All that it wrote to stderr."""
        self._stderr.seek(0)
        return self._stderr.read()

    def wait(self, seconds: float = 1800) -> int:
        """Its exit status."""
        return self._popen.wait(seconds)


@contextlib.contextmanager
def started(
    commands: Any, flags: list[str], processes: int, devices: int = 1
) -> Iterator[list[Process]]:
    """`processes` of `devices` each, for whose training tiny parameters count as large.

    None outlives the block.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    with contextlib.ExitStack() as stack:
        found = []
        for index in range(processes):
            stderr = stack.enter_context(tempfile.TemporaryFile("w+"))
            popen = commands.start(
                SMALL_SHARDS,
                *flags,
                f"--coordinator={address}",
                f"--num_processes={processes}",
                f"--process_id={index}",
                stderr=stderr,
                devices=devices,
            )
            stack.callback(popen.wait)
            stack.callback(popen.kill)
            found.append(Process(popen, stderr))
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
        try:
            statuses.append(process.wait(END_SECONDS))
            # JAX itself ends the others when process 0 is gone, and may be faster.
            assert statuses[-1] in (1, -signal.SIGABRT), process.said()
            if statuses[-1] == 1:
                assert "if another process of this run failed or was killed" in process.said()
        except subprocess.TimeoutExpired:
            process.kill()
            statuses.append("killed")
    unfinished = [str(f.relative_to(workdir)) for f in workdir.glob("*/*tmp*")]
    print(
        f"killed process {victim} {delay:.2f} s after {steps} losses; the others: {statuses}; "
        f"saves it was in: {unfinished or 'none'}",
        flush=True,
    )


def saved_arrays(folder: Path) -> dict[str, np.ndarray]:
    """All arrays of a checkpoint, from whatever mesh they were saved, by path."""
    with ocp.PyTreeCheckpointer() as checkpointer:
        tree = checkpointer.metadata(folder / "state").item_metadata.tree
        numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        state = checkpointer.restore(folder / "state", restore_args=numpy)
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def assert_same_bits(folder: Path, reference: Path) -> None:
    """Fails unless two checkpoints hold the same arrays."""
    here, there = saved_arrays(folder), saved_arrays(reference)
    assert here.keys() == there.keys() and len(here) > 10
    for part in ("params", "ema", "opt_state"):
        assert any(f"'{part}'" in name for name in here), part
    differing = [name for name in there if here[name].tobytes() != there[name].tobytes()]
    assert not differing, f"{folder}: {len(differing)} of {len(there)}: {differing[:5]}"
