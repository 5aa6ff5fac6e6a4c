"""Installs this repository into .venv, and has the cells of a notebook run there.

A notebook is opened by Colab or by somebody's Jupyter, with other packages than this one needs;
Colab has loaded some of them before the first cell, so that installing over them needs a restart.
Instead a second kernel starts in .venv, and this one hands every further cell over to it.
Imports nothing but the standard library, and what every Jupyter has.
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
# Cells that talk to the page of Colab, as an upload does, stay in its own kernel.
_STAYS = "google.colab"
# Set by Colab for its own Python: packages, where matplotlib draws, another release of libtpu.
_NOT_INHERITED = ("PYTHONPATH", "MPLBACKEND", "TPU_LIBRARY_PATH")


class CellFailedError(Exception):
    """A cell failed in the other kernel, which has shown its traceback already."""

    def _render_traceback_(self) -> list[str]:
        # IPython asks for this; what is raised still stops "Run all".
        return [str(self)]


def use_environment(accelerator: str = "auto") -> None:
    """Makes .venv for "cpu", "gpu" or "tpu" ("auto": what is found); further cells run there.

    Does nothing in a kernel of .venv, or of another Python in which this package is installed.

    Raises:
      RuntimeError: something could not be installed; its output says what.
    """
    if Path(sys.prefix).resolve() == (_ROOT / ".venv").resolve() or _is_installed():
        print(f"cells run in {sys.prefix}")
        return
    accelerator = found_accelerator() if accelerator == "auto" else accelerator
    print(f"installing for {accelerator} into {_ROOT / '.venv'}, which takes a few minutes")
    if importlib.util.find_spec("ensurepip") is None:
        # Debian and Colab keep what makes a venv in a package of its own.
        _run("apt-get", "update", "-qq")
        _run("apt-get", "install", "-y", "-qq", f"python3.{sys.version_info.minor}-venv")
    _run("bash", "launch/install.sh", accelerator)
    python = str(_ROOT / ".venv" / "bin" / "python")
    _run(python, "-m", "pip", "install", "--quiet", "-r", "requirements-notebook.txt")
    hand_over(python)
    print(f"further cells run in {_ROOT / '.venv'}")


def found_accelerator() -> str:
    """ "gpu" where NVIDIA's driver answers, "tpu" where the environment tells of one, or "cpu"."""
    driver = shutil.which("nvidia-smi")
    if driver and subprocess.run(driver, capture_output=True).returncode == 0:
        return "gpu"
    has_tpu = any(name.startswith(("TPU_", "COLAB_TPU")) for name in os.environ)
    return "tpu" if has_tpu or Path("/dev/accel0").exists() else "cpu"


def hand_over(python: str) -> None:
    """Starts a kernel of another Python, and has all further cells of this notebook run in it."""
    from IPython import get_ipython

    shell = get_ipython()
    shell.push({"_run_cell": _start_kernel(python)}, interactive=False)

    def handed_over(lines: list[str]) -> list[str]:
        cell = "".join(lines)
        return lines if _STAYS in cell else [f"_run_cell({cell!r})\n"]

    shell.input_transformers_cleanup.append(handed_over)


def _start_kernel(python: str) -> Callable[[str], None]:
    """A kernel of another Python, as a function that runs a cell and shows what comes out."""
    from jupyter_client.manager import KernelManager

    manager = KernelManager()
    launcher = [python, "-m", "ipykernel_launcher", "--log-level=ERROR"]
    manager.kernel_spec.argv = [*launcher, "-f", "{connection_file}"]
    inherited = {k: v for k, v in os.environ.items() if k not in _NOT_INHERITED}
    manager.start_kernel(cwd=str(_ROOT), env=inherited)
    # Not `manager.shutdown_kernel`: the event loop that it needs may have ended before.
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
    """Shows in this notebook what a cell in the other kernel showed."""
    from IPython.display import display

    content = message["content"]
    match message["msg_type"]:
        case "stream":
            print(content["text"], end="", file=getattr(sys, content["name"]), flush=True)
        case "display_data" | "execute_result":
            display(content["data"], metadata=content["metadata"], raw=True)
        case "error":
            print(*content["traceback"], sep="\n", file=sys.stderr, flush=True)


def _is_installed() -> bool:
    try:
        importlib.metadata.version("glober_jax")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _run(*command: str) -> None:
    environment = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
