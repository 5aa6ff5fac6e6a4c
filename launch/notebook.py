"""Runs launch/glober_colab.ipynb top to bottom, and writes it with small pictures as its outputs.

    python launch/notebook.py

Needs nbclient of requirements-dev.txt. Videos and texts are left out: the notebook is a small file.
The notebook says which environment variables name another model and a smaller training.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import nbclient
import nbformat

NOTEBOOK = Path(__file__).with_name("glober_colab.ipynb")
_PICTURE = "image/png"
# Base64, of one picture.
_LARGEST = 60_000


def execute(environment: Mapping[str, str]) -> nbformat.NotebookNode:
    """The notebook with all outputs, its cells run in order by a new kernel of this Python.

    Raises:
      nbclient.exceptions.CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=None, kernel_name="python3")
    return client.execute(cwd=str(NOTEBOOK.parent), env=dict(environment))


def kept(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without counts, times and outputs, except small PNG pictures; changes it."""
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.execution_count = None
            pictures = [
                output.data[_PICTURE]
                for output in cell.outputs
                if len(output.get("data", {}).get(_PICTURE, "")) in range(1, _LARGEST)
            ]
            cell.outputs = [
                nbformat.v4.new_output("display_data", {_PICTURE: picture}) for picture in pictures
            ]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


if __name__ == "__main__":
    nbformat.write(kept(execute(os.environ)), NOTEBOOK)
