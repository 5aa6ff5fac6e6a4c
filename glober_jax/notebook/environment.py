"""Installs this repository into .venv, and runs the cells of a notebook there.

Colab has other versions of packages, some of them loaded before the first cell. So a second kernel
is started in .venv, and every further cell is sent to it. Imports only the standard library and
packages of every Jupyter.
"""

import atexit
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
# Cells that use Colab's page, such as uploads, stay in its kernel.
_STAYS = "google.colab"
# Variables that Colab sets for its own Python.
_NOT_INHERITED = ("PYTHONPATH", "MPLBACKEND", "TPU_LIBRARY_PATH")


class CellFailedError(Exception):
    """A cell failed in the other kernel, which has printed its traceback."""

    def _render_traceback_(self) -> list[str]:
        # Called by IPython; the exception still stops "Run all".
        return [str(self)]


def use_environment(accelerator: str = "auto") -> None:
    """Makes .venv for "cpu", "gpu", "tpu" or what is found ("auto"); further cells run there.

    Does nothing where this package is installed. Raises RuntimeError with the output of a failed
    installation.
    """
    is_installed = next(iter(importlib.metadata.distributions(name="glober_jax")), None) is not None
    if is_installed or Path(sys.prefix).resolve() == (_ROOT / ".venv").resolve():
        print(f"cells run in {sys.prefix}")
        return
    accelerator = found_accelerator() if accelerator == "auto" else accelerator
    print(f"installing for {accelerator} into {_ROOT / '.venv'}, which takes a few minutes")
    if importlib.util.find_spec("ensurepip") is None:
        # Debian and Colab have venv in a package of its own.
        _run("apt-get", "update", "-qq")
        _run("apt-get", "install", "-y", "-qq", f"python3.{sys.version_info.minor}-venv")
    _run("bash", "launch/install.sh", accelerator)
    python = str(_ROOT / ".venv" / "bin" / "python")
    _run(python, "-m", "pip", "install", "--quiet", "-r", "requirements-notebook.txt")
    hand_over(python)
    print(f"further cells run in {_ROOT / '.venv'}")


def found_accelerator() -> str:
    """ "gpu" where NVIDIA's driver answers, "tpu" where the environment has one, else "cpu"."""
    driver = shutil.which("nvidia-smi")
    if driver and subprocess.run(driver, capture_output=True).returncode == 0:
        return "gpu"
    has_tpu = any(name.startswith(("TPU_", "COLAB_TPU")) for name in os.environ)
    return "tpu" if has_tpu or Path("/dev/accel0").exists() else "cpu"


def hand_over(python: str) -> None:
    """Starts a kernel of another Python, and runs all further cells of this notebook in it."""
    from IPython import get_ipython

    shell = get_ipython()
    shell.push({"_run_cell": _start_kernel(python)}, interactive=False)

    def handed_over(lines: list[str]) -> list[str]:
        cell = "".join(lines)
        return lines if _STAYS in cell else [f"_run_cell({cell!r})\n"]

    shell.input_transformers_cleanup.append(handed_over)


def _start_kernel(python: str) -> Callable[[str], None]:
    """A function that runs a cell in a new kernel of another Python and shows its output."""
    from jupyter_client.manager import KernelManager

    manager = KernelManager()
    launcher = [python, "-m", "ipykernel_launcher", "--log-level=ERROR"]
    manager.kernel_spec.argv = [*launcher, "-f", "{connection_file}"]
    inherited = {k: v for k, v in os.environ.items() if k not in _NOT_INHERITED}
    manager.start_kernel(cwd=str(_ROOT), env=inherited)
    # Not `manager.shutdown_kernel`, whose event loop may have ended.
    atexit.register(manager.provisioner.process.kill)
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=120)

    def run_cell(cell: str) -> None:
        try:
            message = client.execute_interactive(cell, allow_stdin=False, output_hook=_relay)
        except KeyboardInterrupt:
            manager.interrupt_kernel()
            raise
        reply = message["content"]
        if reply["status"] != "ok":
            raise CellFailedError(f"{reply.get('ename', 'the cell')} in {python}")

    return run_cell


def _relay(message: dict[str, Any]) -> None:
    """Shows an output of the other kernel in this notebook."""
    from IPython.display import display

    content = message["content"]
    match message["msg_type"]:
        case "stream":
            print(content["text"], end="", file=getattr(sys, content["name"]), flush=True)
        case "display_data" | "execute_result":
            display(content["data"], metadata=content["metadata"], raw=True)
        case "error":
            print(*content["traceback"], sep="\n", file=sys.stderr, flush=True)


def _run(*command: str) -> None:
    environment = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
