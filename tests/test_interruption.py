"""Ctrl-C: the end within seconds, in one line, and checkpoints that are whole.

Run as a program, this file is a command that is interrupted; its argument says while it does what.
"""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from glober_jax import cli
from glober_jax.training.checkpoint import StageCheckpoints, newest_step
from tests.tiny import mesh_of

# With what the machine may need to answer.
SECONDS = 5
_CONFIG = {"model": {}, "frame_size": 16}
_ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("doing", ["compiling", "blocked", "swallowing"])
def test_ends_soon_and_leaves_a_whole_checkpoint(doing: str, tmp_path: Path) -> None:
    """Fails when Ctrl-C waits for XLA, crashes in it, is told twice, or spoils a checkpoint.

    A save is under way all the time. Broken: sys.exit in the place of os._exit; no second thread.
    """
    process = _start([__file__, doing, str(tmp_path)])
    assert process.stdout.readline() == f"{doing}\n"
    # Well into what it does, which takes far longer.
    time.sleep(1)
    assert _interrupt(process) == "interrupted; start again\n"
    with StageCheckpoints(tmp_path, "codec", _CONFIG) as checkpoints:
        step = newest_step(tmp_path, "codec")
        state = checkpoints.restore(jax.eval_shape(_state, 0), mesh_of())
        assert step in (1, 2) and (state["x"] == step).all()


def test_ends_while_it_imports() -> None:
    """Fails when Ctrl-C in the first seconds of a command ends in a stack trace."""
    process = _start(["-X", "importtime", "-m", "glober_jax.sample", "--workdir=none"])
    for line in process.stderr:
        if line.rstrip().endswith("numpy"):
            break
    said = _interrupt(process)
    assert "interrupted\n" in said and "Traceback" not in said


def test_workers_say_nothing(tmp_path: Path) -> None:
    """Fails when workers that begin to import hear the terminal's Ctrl-C, or leave something."""
    sky = ["synthetic_sky", "--num_videos=2000", "--num_frames=64", f"--output={tmp_path}"]
    process = _start(["-m", "glober_jax.prepare", *sky, "--workers=2"])
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    # With the one that looks after shared memory.
    while len(children.read_text().split()) < 3:
        time.sleep(0.02)
    time.sleep(0.2)
    said = _interrupt(process, group=True)
    assert said.splitlines()[-1] == "interrupted"
    assert all(line.startswith("decoding") for line in said.splitlines()[:-1]), said


def _start(arguments: list[str]) -> subprocess.Popen[str]:
    # Tests that run in the background may ignore it, and would hand that on.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=_ROOT,
            env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(_ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt(process: subprocess.Popen[str], group: bool = False) -> str:
    """What it says on stderr from then on; `group`: its workers are told too, as by a terminal."""
    (os.killpg if group else os.kill)(process.pid, signal.SIGINT)
    begin = time.monotonic()
    _, stderr = process.communicate()
    assert process.returncode == 130, stderr
    assert time.monotonic() - begin < SECONDS
    return stderr


def _state(value: int) -> dict[str, Any]:
    return {"x": jnp.full(10**7, value, jnp.float32)}


def _sorts(x: jax.Array) -> jax.Array:
    """Traced in a second, compiled in twenty."""
    for number in range(600):
        x = jax.lax.sort(x * (number + 1.5))
    return x


def main(argv: Sequence[str]) -> None:
    doing, workdir = argv
    with StageCheckpoints(workdir, "codec", _CONFIG) as checkpoints:
        checkpoints.save(1, _state(1))
        checkpoints.wait()
        # Before it is said to be compiling.
        lowered = jax.jit(_sorts).lower(jnp.ones(64)) if doing == "compiling" else None
        checkpoints.save(2, _state(2))
        print(doing, flush=True)
        if doing == "compiling":
            lowered.compile()
        elif doing == "blocked":
            # Minutes in one call, of which Python hears nothing.
            hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
        else:
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                return


if __name__ == "__main__":
    cli.run(main, "start again")
