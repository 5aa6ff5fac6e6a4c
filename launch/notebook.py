"""Runs launch/glober_colab.ipynb top to bottom, and writes it with small pictures as its outputs.

    python launch/notebook.py

Needs nbclient of requirements-dev.txt. Videos and texts are left out: the notebook is a small file.
The notebook says which environment variables name another model and a smaller training.
"""

import base64
import io
import os
from collections.abc import Mapping
from pathlib import Path

import nbclient
import nbformat
from PIL import Image

NOTEBOOK = Path(__file__).with_name("glober_colab.ipynb")
_PICTURE = "image/png"
# Of a picture in the file, which then takes a quarter of the bytes.
_COLOURS = 128


def execute(environment: Mapping[str, str]) -> nbformat.NotebookNode:
    """The notebook with all outputs, its cells run in order by a new kernel of this Python.

    Raises:
      nbclient.exceptions.CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=None, kernel_name="python3")
    return client.execute(cwd=str(NOTEBOOK.parent), env=dict(environment))


def kept(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without counts, times and outputs, except PNG pictures; changes it."""
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.execution_count = None
            found = (output.get("data", {}).get(_PICTURE) for output in cell.outputs)
            cell.outputs = [
                nbformat.v4.new_output("display_data", {_PICTURE: _smaller(picture)})
                for picture in found
                if picture
            ]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def _smaller(picture: str) -> str:
    """A PNG picture in fewer colours; both in base64."""
    file = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        image.convert("RGB").quantize(_COLOURS).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


if __name__ == "__main__":
    nbformat.write(kept(execute(os.environ)), NOTEBOOK)
