"""launch/glober_colab.ipynb, run top to bottom on a tiny model, and as it is committed."""

import base64
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import av
import nbformat
import numpy as np
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from PIL import Image

from glober_jax import media
from launch.notebook import NOTEBOOK, execute, kept
from tests.end_to_end.commands import TINY_CONFIG
from tests.tiny import QUICK_TO_COMPILE

_LARGEST_FILE = 300_000


@pytest.fixture(scope="module")
def trained(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workdir that the notebook goes on to train in: the generator is missing, to save time."""
    workdir = tmp_path_factory.mktemp("notebook") / "run"
    for stage in ("codec", "autoencoder"):
        shutil.copytree(finished / stage, workdir / stage)
    return workdir


@pytest.fixture(scope="module")
def executed(commands: Any, finished: Path, trained: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs, on the finished tiny model and a video of one's own."""
    video = trained.parent / "own.mp4"
    frames = np.random.default_rng(0).integers(0, 256, (10, 24, 32, 3), np.uint8)
    media.write_mp4(video, frames, fps=8)
    tiny = {
        "GLOBER_WORKDIR": str(finished),
        "GLOBER_CONFIG": str(TINY_CONFIG),
        "GLOBER_DATA": str(trained.parent / "sky"),
        "GLOBER_OUTPUT": str(trained),
        "GLOBER_SKIES": "12",
        "GLOBER_VIDEO": str(video),
        "XLA_FLAGS": QUICK_TO_COMPILE,
    }
    return execute(commands.environment | tiny)


def test_videos_play_and_differ(executed: nbformat.NotebookNode) -> None:
    """Fails when a video is missing, stands still, or a slider changes nothing."""
    players = [_videos(cell) for cell in executed.cells if cell.cell_type == "code"]
    four, time, long, way, new, own = [found for found in players if found]
    assert list(four) == list(new) == ["clear", "broken", "overcast", "sunset"]
    videos = [*four.values(), *new.values()]
    assert all(len(video) == 8 for video in videos)
    assert len({video.tobytes() for video in videos}) == 8
    assert all((video[0] != video[-1]).any() for video in videos)
    whole, part = time.values()
    # A half of 8 frames, four times slower.
    assert (whole == four["sunset"]).all() and len(part) == 16
    assert [len(video) for video in long.values()] == [128]
    assert len(way) == 4 and (way["100% clear, 0% sunset"] == four["clear"]).mean() > 0.9
    assert [len(video) for video in own.values()] == [8, 8, 16]


def test_every_stage_has_its_picture(executed: nbformat.NotebookNode) -> None:
    """Fails when a picture is missing or empty."""
    pictures = [picture for cell in executed.cells for picture in _pictures(cell)]
    assert len(pictures) == 7
    assert all(picture.std() > 5 for picture in pictures)


def test_training_wrote_its_results(executed: nbformat.NotebookNode, trained: Path) -> None:
    """Fails when the training cell trains nothing, or something else than it was told."""
    summary = json.loads((trained / "summary.json").read_text())
    assert summary["steps"] == {"codec": 6, "autoencoder": 6, "generator": 6}
    assert summary["held_out_clips"] == 1
    said = "".join(o.text for c in executed.cells for o in c.get("outputs", []) if "text" in o)
    assert f"{summary['psnr_db']['reconstruction']:.1f} dB" in said and "1 x cpu" in said


def test_it_can_be_committed_with_its_pictures(executed: nbformat.NotebookNode) -> None:
    """Fails when videos, texts or counts stay in the file, or pictures do not."""
    notebook = kept(nbformat.from_dict(executed))
    _check_clean(notebook)
    assert any(cell.get("outputs") for cell in notebook.cells)


def test_the_file_is_clean_and_small() -> None:
    """Fails when the notebook was saved with outputs, or of another environment."""
    assert NOTEBOOK.stat().st_size < _LARGEST_FILE
    _check_clean(nbformat.read(NOTEBOOK, as_version=4))


def test_every_cell_is_python() -> None:
    """Fails when a cell cannot be compiled, with what IPython adds to Python."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            compile(TransformerManager().transform_cell(cell.source), cell.id, "exec")


def _check_clean(notebook: nbformat.NotebookNode) -> None:
    nbformat.validate(notebook)
    assert notebook.metadata.keys() == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert not cell.metadata and not cell.get("execution_count")
        assert all(output.data.keys() == {"image/png"} for output in cell.get("outputs", []))


def _videos(cell: nbformat.NotebookNode) -> dict[str, np.ndarray]:
    """The videos of a cell by title, uint8 [T, H, W, 3]."""
    pages = [output.data.get("text/html", "") for output in cell.outputs if "data" in output]
    found = re.findall(r'base64,([^"]+)".*?<figcaption>(.*?)</figcaption>', "".join(pages))
    videos = {}
    for data, title in found:
        with av.open(io.BytesIO(base64.b64decode(data))) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        videos[title] = np.stack(frames)
    return videos


def _pictures(cell: nbformat.NotebookNode) -> list[np.ndarray]:
    found = [output.data.get("image/png") for output in cell.get("outputs", []) if "data" in output]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in found if data]
