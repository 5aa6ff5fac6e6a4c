"""The commands as a person starts them, one tiny data set, and one run trained on it."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest
from filelock import FileLock

from tests.tiny import QUICK_TO_COMPILE

_REPOSITORY = Path(__file__).parents[2]
TINY_CONFIG = Path(__file__).parent / "tiny_config.py"
# The training command, but the tiny parameters count as large.
SMALL_SHARDS = "small_shards"


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
        """Runs a command to its end, on that many (pretended) devices."""
        return subprocess.run(
            self._arguments(name, flags),
            cwd=_REPOSITORY,
            env=self._environment(devices),
            capture_output=True,
            text=True,
            timeout=300,
        )

    def start(
        self, name: str, *flags: str, stderr: IO[str] | int, devices: int = 1
    ) -> subprocess.Popen[str]:
        """Starts a command and returns at once."""
        return subprocess.Popen(
            self._arguments(name, flags),
            cwd=_REPOSITORY,
            env=self._environment(devices),
            stderr=stderr,
            text=True,
        )

    def _environment(self, devices: int) -> dict[str, str]:
        count = f" --xla_force_host_platform_device_count={devices}"
        return self.environment | {"XLA_FLAGS": QUICK_TO_COMPILE + count}

    def _arguments(self, name: str, flags: tuple[str, ...]) -> list[str]:
        package = "tests.end_to_end" if name == SMALL_SHARDS else "glober_jax"
        return [sys.executable, "-m", f"{package}.{name}", *flags]


@pytest.fixture(scope="session")
def of_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all workers of pytest-xdist share, whose own ones lie in it."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def commands(of_run: Path) -> Commands:
    """Commands on a prepared data set: 8 training and 4 test skies of 12 frames at 16 pixels."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        # Optimised for the time to compile: nearly all that these commands do.
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(of_run / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    commands = Commands(environment, data=of_run / "sky")
    with FileLock(of_run / "sky.lock"):
        # The second worker is told that the data set is there.
        prepared = commands.run(
            "prepare", "synthetic_sky", f"--output={commands.data}", "--num_videos=8",
            "--num_test_videos=4", "--num_frames=12", "--size=16",
        )  # fmt: skip
    assert prepared.returncode == 0, prepared.stderr
    return commands


@pytest.fixture(scope="session")
def finished(commands: Commands, of_run: Path) -> Path:
    """The workdir of a run that nothing interrupted; not to be modified, for all workers use it."""
    workdir = of_run / "finished"
    with FileLock(of_run / "finished.lock"):
        if not (workdir / "summary.json").exists():
            trained = commands.run("main", *commands.train_flags(workdir))
            assert trained.returncode == 0, trained.stderr
    return workdir
