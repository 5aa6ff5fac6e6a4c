"""Runs a test file as a program on eight pretended devices: a process of its own, as JAX wants."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

# As in tests/conftest.py.
_PROGRAM = """
import gc, runpy, sys
gc.set_threshold(50_000)
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def on_eight_devices(file: str) -> dict[str, Any]:
    """What the program, run as `python FILE`, prints as JSON in its last line."""
    root = Path(__file__).parents[1]
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    environment = os.environ | {
        "XLA_FLAGS": flags,
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "PYTHONPATH": str(root),
    }
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, file],
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])
