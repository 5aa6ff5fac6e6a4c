"""A caption stays with its video: from the file that holds it into every batch."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from glober_jax.data.clips import ClipSpec
from glober_jax.data.damage import DamageLog
from glober_jax.data.held_out import eval_clips
from glober_jax.data.latent_videos import LatentVideos, make_latents, open_latents
from glober_jax.data.loader import training_batches
from glober_jax.data.source import StoredVideos, open_videos
from glober_jax.errors import UserError
from tests.texts import CAPTIONS, RandomEncoder, write_captioned

SPEC = ClipSpec(num_frames=8, num_key_frames=2, num_target_frames=0)
ENCODE = RandomEncoder()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_captioned(tmp_path_factory.mktemp("captioned"))


def _cached(source: StoredVideos, path: Path) -> LatentVideos:
    def encode(frames: np.ndarray) -> np.ndarray:
        return (frames[:, :1, :1, :2] / 255).astype(np.float16)

    damage = DamageLog(len(source))
    make_latents(path, source, encode, (1, 1, 2), "codec", flip=False, damage=damage, command="")
    return open_latents(path, source, "codec", flip=False)


def test_every_row_of_a_batch_has_its_own_text(folder: Path, tmp_path: Path) -> None:
    """Fails when texts and clips are paired wrongly, lose precision, or are lost on the way.

    Each class has one caption, so a row's label says which text it must have: read from the data
    set, from a fresh latent cache and from one that was on disk."""
    source = open_videos(folder, "train")
    assert len(source) == 3
    fresh = _cached(source, tmp_path / "latents")
    reread = _cached(source, tmp_path / "latents")
    expected = ENCODE([CAPTIONS[name] for name in source.class_names])
    for videos in (source, fresh, reread):
        batches = training_batches(videos, SPEC, batch_size=4, seed=0, text=True)
        for _ in range(5):
            batch = next(batches)
            assert batch["text"].dtype == np.float16
            np.testing.assert_array_equal(batch["text"], expected[batch["label"]])
        plain = next(training_batches(videos, SPEC, batch_size=4, seed=0))
        assert plain.keys() == {"key_frames", "label"}
    clips = eval_clips(open_videos(folder, "test"), SPEC, 3)
    np.testing.assert_array_equal(clips["text"], expected[clips["label"]])
    assert clips["caption"] == [CAPTIONS[source.class_names[label]] for label in clips["label"]]


def test_other_captions_are_another_dataset(folder: Path, tmp_path: Path) -> None:
    """Fails when a latent cache, kept by fingerprint, outlives captions that were swapped."""
    names = list(CAPTIONS)
    swapped = dict(zip(names, [CAPTIONS[name] for name in reversed(names)], strict=True))
    other = open_videos(write_captioned(tmp_path, swapped), "train")
    source = open_videos(folder, "train")
    assert other.text_info == dataclasses.replace(
        source.text_info, captions=other.text_info.captions
    )
    assert other.fingerprint != source.fingerprint
    _cached(source, tmp_path / "latents")
    with pytest.raises(UserError, match="made from another data set"):
        open_latents(tmp_path / "latents", other, "codec", flip=False)
