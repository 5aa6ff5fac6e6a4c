"""One tiny data set, and one run trained on it."""

import os
from pathlib import Path

import pytest
from filelock import FileLock

from tests.end_to_end.commands import Commands


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
        # Threads of XLA, on which the order of sums depends: equal bits on a single core, too.
        "NPROC": "2",
        # Optimised for the time to compile: nearly all that these commands do.
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(of_run / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    commands = Commands(environment, data=of_run / "sky")
    with FileLock(of_run / "sky.lock"):
        # The second worker is told that the data set is there.
        commands.succeed(
            "prepare", "synthetic_sky", f"--output={commands.data}", "--num_videos=8",
            "--num_test_videos=4", "--num_frames=12", "--size=16",
        )  # fmt: skip
    return commands


@pytest.fixture(scope="session")
def finished(commands: Commands, of_run: Path) -> Path:
    """The workdir of a run that nothing interrupted; not to be modified, for all workers use it."""
    workdir = of_run / "finished"
    with FileLock(of_run / "finished.lock"):
        if not (workdir / "summary.json").exists():
            commands.succeed("main", *commands.train_flags(workdir))
    return workdir
