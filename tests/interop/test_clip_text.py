"""A CLIP text model on disk embeds captions, with transformers where it is installed."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from glober_jax.errors import UserError
from glober_jax.interop.clip_text import ClipTextEncoder
from tests.texts import CLIP_LENGTH, CLIP_WIDTH, write_clip

needs_transformers = pytest.mark.skipif(
    "not __import__('importlib').util.find_spec('transformers')",
    reason="transformers is not installed: pip install transformers torch",
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip"))


@needs_transformers
def test_embeddings_are_the_normed_last_states(checkpoint: Path) -> None:
    """Fails when another layer is taken, tokens are padded or cut otherwise, or rows are mixed.

    Behind the final norm, which is fresh, every token has mean 0 and deviation 1. Broken: the
    layer before the last; other padding.
    """
    import torch
    import transformers

    encode = ClipTextEncoder(checkpoint)
    assert (encode.length, encode.width) == (CLIP_LENGTH, CLIP_WIDTH)
    long = "abcdefghijklmnop"
    texts = encode(["sun", "a sun", long, *["b"] * 40])
    assert texts.shape == (43, CLIP_LENGTH, CLIP_WIDTH) and texts.dtype == np.float16
    np.testing.assert_allclose(texts.mean(-1, dtype=np.float32), 0, atol=1e-2)
    np.testing.assert_allclose(texts.std(-1, dtype=np.float32), 1, atol=1e-2)
    np.testing.assert_allclose(encode(["a sun"])[0], texts[1], atol=2e-3)
    # Attention looks back only: captions that begin alike are alike there.
    np.testing.assert_allclose(texts[2], encode([long + "qrst"])[0], atol=2e-3)
    assert np.abs(texts[0] - texts[1]).max() > 0.1
    # Captions are the same to it in any case, and padding is the end token again.
    np.testing.assert_array_equal(encode(["SUN"])[0], texts[0])
    start, end = 52, 53
    letters = [ord(letter) - ord("a") for letter in "su"]
    ids = [start, *letters, 26 + ord("n") - ord("a"), end, end, end]
    model = transformers.CLIPTextModel.from_pretrained(checkpoint)
    states = model(torch.tensor([ids])).last_hidden_state[0].detach().numpy()
    np.testing.assert_allclose(texts[0], states, atol=2e-3)


@needs_transformers
def test_digest_tells_models_apart(checkpoint: Path, tmp_path: Path) -> None:
    """Fails when other weights pass for those that the data set was prepared with."""
    same, other = write_clip(tmp_path / "same"), write_clip(tmp_path / "other", seed=1)
    digests = [ClipTextEncoder(folder).digest for folder in (checkpoint, same, other)]
    assert digests[0] == digests[1] != digests[2]
    # A whole CLIP, with images, holds the same text model.
    whole = write_clip(tmp_path / "whole", with_images=True)
    assert ClipTextEncoder(whole).digest == digests[0]


def _lose_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors[min(tensors)]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def _pickle(folder: Path) -> None:
    import torch

    tensors = load_file(folder / "model.safetensors").items()
    torch.save({name: torch.tensor(t) for name, t in tensors}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _lose_the_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "vocab.json"):
        (folder / name).unlink(missing_ok=True)


@needs_transformers
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "no config.json that names a model"),
        (
            lambda folder: (folder / "config.json").write_text('{"model_type": "bert"}'),
            "a model of type bert",
        ),
        (_lose_the_tokenizer, "neither tokenizer.json nor vocab.json"),
        (_pickle, "is no CLIP checkpoint"),
        (lambda folder: os.truncate(folder / "model.safetensors", 500), "is no CLIP checkpoint"),
        (_lose_a_tensor, "its weights lack"),
    ],
    ids=["no config", "other model", "no tokenizer", "pickle", "truncated", "weights missing"],
)
def test_folders_that_hold_no_clip(
    checkpoint: Path, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    """Fails when a folder is accepted of which some part would be made up, or unpickled."""
    folder = tmp_path / "clip"
    shutil.copytree(checkpoint, folder)
    damage(folder)
    with pytest.raises(UserError, match=message) as error:
        ClipTextEncoder(folder)
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


def test_without_transformers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Fails when it is not said what to install."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match="pip install transformers torch"):
        ClipTextEncoder(tmp_path)
