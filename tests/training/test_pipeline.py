"""What the data set must have for the condition that a config asks for."""

from pathlib import Path
from typing import Any

import pytest

from glober_jax.config import parse
from glober_jax.data.datasets.make import make_dataset
from glober_jax.data.datasets.synthetic_sky import SyntheticSkyOptions
from glober_jax.errors import UserError
from glober_jax.training.pipeline import Pipeline
from tests.texts import CLIP_LENGTH, CLIP_WIDTH, write_captioned
from tests.tiny import mesh_of, tiny_config


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_captioned(tmp_path_factory.mktemp("captioned"))


def pipeline(folder: Path, workdir: Path, width: int = CLIP_WIDTH, **condition: Any) -> Pipeline:
    """The tiny experiment on clips of 8 frames, under this condition."""
    config = tiny_config()
    config.data.dir = str(folder)
    config.clip.num_frames = 8
    config.model.condition.update({"num_classes": 0, **condition})
    config.model.generator.context_width = width
    return Pipeline(parse(config), workdir, mesh_of())


def test_conditions_that_the_data_set_lacks(folder: Path, tmp_path: Path) -> None:
    """Fails when the lack shows only in the middle of training, or a wrong size in the compiler."""
    text = {"kind": "text", "length": CLIP_LENGTH}
    make_dataset(
        SyntheticSkyOptions(num_videos=2, num_test_videos=1, num_frames=8, size=16),
        tmp_path / "sky",
    )
    with pytest.raises(UserError, match=r"kind is 'text', but .* no texts: .* --clip=DIR"):
        pipeline(tmp_path / "sky", tmp_path, **text)
    with pytest.raises(UserError, match=r"7 tokens of 8, .* 7 of 16: .*context_width=8"):
        pipeline(folder, tmp_path, width=16, **text)
    with pytest.raises(UserError, match=r"7 tokens of 8, .* 5 of 8: .*length=7"):
        pipeline(folder, tmp_path, kind="text", length=5)
    with pytest.raises(UserError, match=r"num_classes=4, but .* 3 classes \(calm, rain, snow\)"):
        pipeline(folder, tmp_path, kind="class", num_classes=4)


def test_previews_are_made_under_what_there_is(folder: Path, tmp_path: Path) -> None:
    """Fails when captions and embeddings part ways, or classes are not taken in turn."""
    of_texts = pipeline(folder, tmp_path, kind="text", length=CLIP_LENGTH)
    conditions = of_texts.example_conditions(of_texts.held_out, 5)
    texts = dict(zip(of_texts.held_out["caption"], of_texts.held_out["text"], strict=True))
    assert conditions.record == {"prompts": (list(texts) * 2)[:5]}
    for name, value in zip(conditions.names, conditions.values, strict=True):
        assert (value == texts[name]).all()
    assert of_texts.example_texts().encoder == "random"
    of_classes = pipeline(folder, tmp_path, kind="class", num_classes=3)
    assert of_classes.example_conditions(of_classes.held_out, 4).record == {"labels": [0, 1, 2, 0]}
    assert of_classes.example_texts() is None
