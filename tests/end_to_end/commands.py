"""The commands as a person starts them, in processes of their own."""

import atexit
import dataclasses
import gc
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

from tests.tiny import QUICK_TO_COMPILE

_REPOSITORY = Path(__file__).parents[2]
TINY_CONFIG = Path(__file__).parent / "tiny_config.py"
# The training command, but the tiny parameters count as large.
SMALL_SHARDS = "tests.end_to_end.small_shards"
_TIMEOUT = 550.0

# A process forked from one that has imported what most commands do begins seconds earlier.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["glober_jax.run", "glober_jax.pretrained"])


@dataclasses.dataclass(frozen=True)
class Commands:
    """Starts `python -m glober_jax.<name>` in the repository, as its README says.

    All processes share a compilation cache: what one compiled the next one loads.
    """

    environment: dict[str, str]
    data: Path

    def train_flags(self, workdir: Path, config: Path | str = TINY_CONFIG) -> list[str]:
        """The flags of the one training command of these tests."""
        return [f"--config={config}", f"--workdir={workdir}", f"--config.data.dir={self.data}"]

    def run(self, name: str, *flags: str, devices: int = 1) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end, on that many (pretended) devices, in a forked process."""
        with tempfile.TemporaryDirectory() as folder:
            stdout, stderr = Path(folder, "stdout"), Path(folder, "stderr")
            command = f"glober_jax.{name}", *map(str, flags)
            process = self.fork(*command, stdout=stdout, stderr=stderr, devices=devices)
            try:
                process.join(_TIMEOUT)
                status = process.exitcode
            finally:
                process.kill()
                process.join()
            said = stdout.read_text(), stderr.read_text()
        if status is None:
            raise subprocess.TimeoutExpired(command, _TIMEOUT, *said)
        return subprocess.CompletedProcess(command, status, *said)

    def succeed(self, name: str, *flags: str, devices: int = 1) -> subprocess.CompletedProcess[str]:
        """`run`, which has to end with status 0."""
        done = self.run(name, *flags, devices=devices)
        assert done.returncode == 0, done.stderr
        return done

    def refuse(self, name: str, *flags: str, devices: int = 1) -> str:
        """`run`, which has to end with status 1 and a short message, which is returned."""
        done = self.run(name, *flags, devices=devices)
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
        message = done.stderr[done.stderr.index("error: ") :].strip()
        assert len(message.splitlines()) <= 3, message
        return message

    def fork(
        self, *command: str, stdout: Path | None = None, stderr: Path, devices: int = 1
    ) -> multiprocessing.Process:
        """Begins `python -m COMMAND` in a forked process and returns at once."""
        with mock.patch.dict(os.environ, self.environment):
            forkserver.ensure_running()
        words = command, _xla_flags(devices), stdout or os.devnull, stderr
        process = _FORKS.Process(target=_run_module, args=words)
        process.start()
        return process

    def start(self, name: str, *flags: str, stderr: Path) -> subprocess.Popen[str]:
        """Begins a command in a new Python, as a shell does, and returns at once."""
        with stderr.open("w") as file:
            return subprocess.Popen(
                [sys.executable, "-m", f"glober_jax.{name}", *flags],
                cwd=_REPOSITORY,
                env=self.environment | {"XLA_FLAGS": _xla_flags(1)},
                stderr=file,
                text=True,
            )


def _xla_flags(devices: int) -> str:
    return f"{QUICK_TO_COMPILE} --xla_force_host_platform_device_count={devices}"


def _run_module(command: list[str], xla_flags: str, *outputs: Path | str) -> None:
    """Does in this forked process what `python -m COMMAND` does in a new one."""
    # As in tests/conftest.py.
    gc.freeze()
    gc.set_threshold(50_000)
    os.chdir(_REPOSITORY)
    os.environ["XLA_FLAGS"] = xla_flags
    for descriptor, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    module, *sys.argv[1:] = command
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except Exception:
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
    finally:
        # Forked processes end without.
        atexit._run_exitfuncs()
