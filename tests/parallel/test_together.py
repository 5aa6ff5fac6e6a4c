"""However one of several processes ends, the others end with it, soon and in one sentence.

Run as a program, this file is one process of such a run; its last argument says how that ends.
"""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from absl import flags
from glober_jax.parallel.together import end_together
from jax.experimental import multihost_utils

from glober_jax import cli
from glober_jax.errors import UserError
from glober_jax.parallel.multihost import start_processes
from glober_jax.training.preemption import StopRequest
from tests.parallel.test_multihost import _free_port

GONE = "error: another process of this run is gone ("
# Far less than JAX takes by itself.
SECONDS = 40


class Ended(NamedTuple):
    status: int
    stderr: str
    seconds: float


@pytest.mark.parametrize(
    ("how", "said", "status"),
    [
        ("error in 0", "error: process 0: too many clouds\n", 1),
        ("error in 1", "error: process 1: too many clouds\n", 1),
        ("kill 0", GONE, 1),
        ("kill 1", GONE, 1),
        ("stop 1", "process 1: SIGTERM: nothing to save; run the same command again", 0),
        ("interrupt 1", "error: process 1: interrupted\n", 130),
    ],
)
def test_the_end_of_one_is_the_end_of_all(how: str, said: str, status: int) -> None:
    """Fails when the other waits in its collective, or gets an end of its own.

    Broken: the first process leaves without telling; process 0 leaves before the other.
    """
    ended = _run_two(how)
    first, other = (ended[i] for i in ((0, 1) if how.endswith("0") else (1, 0)))
    assert first.status == (-signal.SIGKILL if how.startswith("kill") else status), first
    assert "Traceback" not in first.stderr
    assert other.seconds < SECONDS
    if how == "kill 0" and other.status == -signal.SIGABRT:
        # JAX is faster: it ends the others at once when process 0 is gone.
        return
    assert other.status == status, other
    assert said in other.stderr and "Traceback" not in other.stderr
    if how.startswith("error"):
        assert first.stderr.endswith("error: too many clouds\n")


def _run_two(how: str) -> list[Ended]:
    """How process 0 and process 1 ended."""
    root = Path(__file__).parents[2]
    port = _free_port()
    kept = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, f"--port={port}", f"--process={i}", f"--how={how}"],
            env=kept | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    ends = []
    begin = time.monotonic()
    for process in processes:
        _, stderr = process.communicate(timeout=120)
        ends.append(Ended(process.returncode, stderr, time.monotonic() - begin))
    return ends


def main(argv: Sequence[str]) -> None:
    """One process: it ends as it is told to, or waits for the other in a collective."""
    port, index, how = flags.FLAGS.port, flags.FLAGS.process, flags.FLAGS.how
    start_processes(f"localhost:{port}", 2, index)
    StopRequest()
    with end_together():
        multihost_utils.sync_global_devices("begin")
        if not how.endswith(str(index)):
            multihost_utils.sync_global_devices("wait for ever")
        time.sleep(0.5)
        if how.startswith("error"):
            raise UserError("too many clouds")
        if how.startswith("interrupt"):
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
            # As a compiler does, this hears nothing for minutes.
            hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
        os.kill(os.getpid(), signal.SIGKILL if how.startswith("kill") else signal.SIGTERM)
        time.sleep(60)


if __name__ == "__main__":
    for name in ("port", "process"):
        flags.DEFINE_integer(name, 0, "")
    flags.DEFINE_string("how", "", "")
    # Ignored where the tests run in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.run(main)
