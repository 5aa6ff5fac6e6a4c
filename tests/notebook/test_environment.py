"""Where the cells of a notebook run."""

import os
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

from glober_jax.notebook import environment

ROOT = Path(__file__).parents[2]

HANDED_OVER = [
    "import os\nos.environ['OF_THIS'] = str(os.getpid())",
    "from glober_jax.notebook import environment",
    f"environment.hand_over({sys.executable!r})",
    "import os\nname = 'there' if str(os.getpid()) != os.environ['OF_THIS'] else 'here'\nname",
    "print('said', name)\nfrom IPython.display import HTML\ndisplay(HTML('<b>shown</b>'))",
    "!echo $((6 * 7))",
    "'google.colab'; print('stays', 'name' in globals())",
    "name.nothing",
    "print('never')",
]


def test_cells_are_handed_over_with_all_that_they_show() -> None:
    """Fails when a cell runs in the wrong kernel, its output is lost, or an error does not stop."""
    cells = [nbformat.v4.new_code_cell(code) for code in HANDED_OVER]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3")
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="AttributeError"):
        client.execute(cwd=str(ROOT), env=dict(os.environ))
    shown = ["".join(map(_text, cell.outputs)) for cell in cells]
    value, rich, shell, stays, error, after = shown[3:]
    assert value == "'there'" and rich == "said there\n<b>shown</b>"
    assert shell.strip() == "42" and stays == "stays False\n"
    assert "no attribute 'nothing'" in error and not after


@pytest.mark.parametrize(
    ("variables", "driver", "accelerator"),
    [({}, 1, "cpu"), ({}, 0, "gpu"), ({"COLAB_TPU_ADDR": "x"}, None, "tpu"), ({}, None, "cpu")],
)
def test_the_accelerator_is_found(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variables: dict[str, str],
    driver: int | None,
    accelerator: str,
) -> None:
    """Fails when a driver without a GPU counts as one, or a TPU is not seen."""
    for name in os.environ:
        if "TPU" in name:
            monkeypatch.delenv(name)
    if driver is not None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\nexit {driver}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert environment.found_accelerator() == accelerator


def test_a_failed_installation_says_why() -> None:
    """Fails when what a program said is lost."""
    with pytest.raises(RuntimeError, match=r"(?s)ls /nothing failed:.*No such file"):
        environment._run("ls", "/nothing")


def _text(output: nbformat.NotebookNode) -> str:
    data = output.get("data", {})
    return (
        output.get("text")
        or data.get("text/html")
        or data.get("text/plain")
        or output.get("evalue")
    )
