"""Real commands over damaged checkpoints, and on a disk that is really full."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.same_bits import assert_same_bits

pytestmark = pytest.mark.long
LAST_STEP = "6"


def test_damaged_last_checkpoints_are_trained_again(
    commands: Any, finished: Path, tmp_path: Path
) -> None:
    """Fails when a stage that was finished cannot be trained again from the one before.

    Broken: the codec of a finished run prepared as if there were nothing left to train.
    """
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    for stage in ("codec", "generator"):
        files = (workdir / stage / LAST_STEP / "state").rglob("d/*")
        file = max(files, key=lambda file: file.stat().st_size)
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    again = commands.run("main", *commands.train_flags(workdir))
    assert again.returncode == 0 and "Traceback" not in again.stderr, again.stderr
    assert again.stderr.count("warning: ") == 2, again.stderr
    for stage in ("codec", "generator"):
        assert f"{stage}/6 is damaged (" in again.stderr
        assert (workdir / "damaged" / stage / "6").is_dir()
        assert_same_bits(workdir / stage / LAST_STEP, finished / stage / LAST_STEP)


def test_a_full_disk_ends_in_one_sentence(commands: Any, finished: Path, tmp_path: Path) -> None:
    """Fails when the run hangs, leaves a stack trace or harms what was saved on a full disk.

    The disk is a small one that holds one checkpoint and not two; then it gets more room, and the
    same command goes on. Needs a system where anyone may mount in a namespace of their own.
    """
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this system does not let unshare mount")
    flags = [*commands.train_flags(tmp_path), "--stage=codec"]
    once = size_of_checkpoint(finished / "codec" / LAST_STEP)
    script = """
        mount -t tmpfs -o size="$1" tmpfs "$2" || exit 3
        shift 2
        "$@"; echo "STATUS $?" >&2
        ls "$DISK"/codec >&2
        mount -o remount,size=100m "$DISK"
        "$@"; echo "STATUS $?" >&2
        cp -r "$DISK" "$COPY"
    """
    done = subprocess.run(
        ["unshare", "-rm", "bash", "-c", script, "bash", str(int(1.6 * once)), tmp_path,
         sys.executable, "-m", "glober_jax.main", *flags],
        env=commands.environment | {"DISK": str(tmp_path), "COPY": str(tmp_path) + "_copy"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    first, second, _ = done.stderr.split("STATUS ")
    assert second.startswith("1\n2\n"), done.stderr
    assert "codec/4 could not be saved (No space left on device), that of step 2" in first
    assert "error: " in first and "codec/6 could not be saved (No space left on device" in first
    assert done.stderr.rstrip().endswith("STATUS 0")
    copy = Path(f"{tmp_path}_copy")
    assert_same_bits(copy / "codec" / LAST_STEP, finished / "codec" / LAST_STEP)


def size_of_checkpoint(folder: Path) -> int:
    """What it takes on a disk, in bytes."""
    files = (os.stat(path) for path in folder.rglob("*"))
    return sum(-(-max(file.st_size, 1) // 4096) * 4096 for file in files)
