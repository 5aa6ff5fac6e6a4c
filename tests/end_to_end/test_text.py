"""Videos with captions, from `prepare` to `sample`."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from etils import epath

from glober_jax.data.source import open_videos
from glober_jax.training.metric_writer import read_metrics
from glober_jax.training.restore import load_texts, write_texts
from tests.texts import CAPTIONS, CLIP_LENGTH, CLIP_WIDTH, write_captioned, write_clip, write_clips

SAMPLE = ("--save_arrays", "--num_frames=2", "--guidance_condition=20")
needs_transformers = pytest.mark.skipif(
    "not __import__('importlib').util.find_spec('transformers')",
    reason="transformers is not installed: pip install transformers torch",
)


@pytest.fixture(scope="module")
def workdir(commands: Any, finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator trained on three captioned videos; not to be modified."""
    folder = tmp_path_factory.mktemp("text")
    data = write_captioned(folder)
    for stage in ("codec", "autoencoder"):
        shutil.copytree(finished / stage, folder / "run" / stage)
    commands.succeed(
        "main", *commands.train_flags(folder / "run"), f"--config.data.dir={data}",
        "--config.model.condition.kind=text", "--config.model.condition.num_classes=0",
        f"--config.model.condition.length={CLIP_LENGTH}",
        f"--config.model.generator.context_width={CLIP_WIDTH}",
    )  # fmt: skip
    return folder / "run"


def _frames(folder: Path) -> np.ndarray:
    with np.load(folder / "frames.npz") as arrays:
        return arrays["frames"]


def test_held_out_captions_are_the_default(commands: Any, workdir: Path, tmp_path: Path) -> None:
    """Fails when a model of texts needs CLIP for everything, or texts do not reach the videos.

    Broken: embeddings of the first caption for all; texts dropped from the generator's batches.
    """
    records = read_metrics(workdir / "logs" / "metrics.jsonl")
    losses = [r for r in records if r["stage"] == "generator" and "loss" in r]
    assert len(losses) == 6 and "grad_norm_generator" in losses[0]
    record = json.loads((workdir / "samples" / "samples.json").read_text())
    assert sorted(set(record["prompts"])) == sorted(CAPTIONS.values())

    commands.succeed(
        "sample", f"--workdir={workdir}", f"--output={tmp_path / 'a'}", *SAMPLE, "--num_videos=3"
    )
    captions = json.loads((tmp_path / "a" / "samples.json").read_text())["prompts"]
    assert captions == list(load_texts(workdir).captions)

    # The same noise under another caption, and under the same one, is told apart by its videos.
    other = tmp_path / "other"
    shutil.copytree(workdir, other)
    stored = load_texts(other)
    texts = stored.texts[[0, 0, 2]]
    write_texts(epath.Path(other), stored._replace(texts=texts))
    commands.succeed(
        "sample", f"--workdir={other}", f"--output={tmp_path / 'b'}", *SAMPLE, "--num_videos=3"
    )
    differs = (_frames(tmp_path / "a") != _frames(tmp_path / "b")).any(axis=(1, 2, 3, 4))
    assert differs.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--prompt=rain"], "--prompt needs --clip=DIR"),
        (["--class_label=rain"], "trained without classes"),
    ],
)
def test_flags_of_another_model(
    commands: Any, workdir: Path, tmp_path: Path, flags: list[str], says: str
) -> None:
    """Fails when what was asked for is silently not done."""
    given = (f"--workdir={workdir}", f"--output={tmp_path}", *flags)
    assert says in commands.refuse("sample", *given)


@needs_transformers
def test_prepare_and_prompt_with_clip(commands: Any, workdir: Path, tmp_path: Path) -> None:
    """Fails when prompts are embedded otherwise than captions, or by another CLIP unnoticed.

    The run's own captions get the embeddings that `prepare` gives them, as if it had been trained
    on these; then a prompt must make the videos that the same caption makes.
    """
    clip, videos, data = tmp_path / "clip", tmp_path / "in", tmp_path / "data"
    write_clip(clip)
    write_clips(videos, ["one", "two", "three"])
    for name in ("one", "two"):
        (videos / name / "clip.txt").write_text(f"{name} cloud")
    prepared = commands.succeed(
        "prepare", "video_folder", f"--input={videos}", f"--output={data}", f"--clip={clip}",
        "--size=16", "--min_frames=4",
    )  # fmt: skip
    assert "three/clip: has no caption" in prepared.stdout
    source = open_videos(data, "train")
    captions = tuple(source[i].caption for i in range(2))
    assert set(captions) == {"one cloud", "two cloud"}

    run = tmp_path / "run"
    shutil.copytree(workdir, run)
    texts = np.stack([source[i].text_LE for i in range(2)])
    stored = load_texts(run)._replace(
        captions=captions, texts=texts, encoder=source.text_info.encoder
    )
    write_texts(epath.Path(run), stored)
    flags = (f"--workdir={run}", *SAMPLE, "--num_videos=2")
    prompts = (*(f"--prompt={caption}" for caption in captions), f"--clip={clip}")
    for output, more in (("default", ()), ("prompted", prompts)):
        commands.succeed("sample", *flags, *more, f"--output={tmp_path / output}")
    np.testing.assert_array_equal(_frames(tmp_path / "default"), _frames(tmp_path / "prompted"))

    other = write_clip(tmp_path / "other", seed=1)
    refused = commands.refuse("sample", *flags, "--prompt=one cloud", f"--clip={other}")
    assert "is not the CLIP checkpoint that the data set was prepared with" in refused
