"""What is compiled without data is what is trained with data."""

from pathlib import Path

import jax
import numpy as np
import pytest

from glober_jax.config import parse
from glober_jax.data.damage import DamageLog
from glober_jax.data.datasets.make import make_dataset
from glober_jax.data.datasets.synthetic_sky import SyntheticSkyOptions
from glober_jax.data.latent_videos import make_latents, open_latents
from glober_jax.data.loader import training_batches
from glober_jax.data.source import StoredVideos, Video, open_videos
from glober_jax.training.stage_data import batch_shapes, reads_text, stage_clip
from tests.tiny import tiny_config

TEXT = np.zeros((7, 16), np.float16)


class CaptionedVideo:
    """A video that has a text besides."""

    text_LE = TEXT

    def __init__(self, video: Video) -> None:
        self._video = video

    def __getattr__(self, name: str) -> object:
        return getattr(self._video, name)


class Captioned:
    """Videos with a text each, as a prepared data set with captions has them."""

    def __init__(self, videos: StoredVideos) -> None:
        self._videos = videos

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, index: int) -> "CaptionedVideo":
        return CaptionedVideo(self._videos[index])


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> StoredVideos:
    folder = tmp_path_factory.mktemp("sky")
    options = SyntheticSkyOptions(num_videos=8, num_test_videos=1, num_frames=16, size=16)
    make_dataset(options, folder)
    return open_videos(folder, "train")


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("kind", ["class", "text"])
def test_batches_are_known_without_data(
    sky: StoredVideos, tmp_path: Path, cached: bool, kind: str
) -> None:
    """Fails when a field, shape or dtype of a stage's batches is another than is planned with.

    Broken: moments of one dtype stored and another planned.
    """
    config = tiny_config()
    config.data.update({"cache_latents": cached, "flip": False})
    config.model.condition.update({"kind": kind, "length": len(TEXT)})
    if kind == "text":
        config.model.condition.num_classes = 0
    experiment = parse(config)
    source = sky
    if cached:
        height, width, channels = shape = (8, 8, 2 * experiment.networks.latent_shape[-1])

        def encode(frames: np.ndarray) -> np.ndarray:
            return np.zeros((len(frames), height, width, channels), np.float16)

        damage = DamageLog(len(sky), 0.0)
        latents = tmp_path / "latents"
        make_latents(latents, sky, encode, shape, "codec", flip=False, damage=damage, command="")
        source = open_latents(latents, sky, "codec", flip=False)
    for stage in ("codec", "autoencoder", "generator"):
        text = reads_text(experiment, stage)
        videos = sky if stage == "codec" else source
        batch = next(
            training_batches(
                Captioned(videos) if text else videos,
                stage_clip(experiment, stage),
                batch_size=getattr(experiment, stage).batch_size,
                seed=0,
                text=text,
            )
        )
        loaded = {name: (rows.shape, rows.dtype) for name, rows in batch.items()}
        planned = jax.tree.map(
            lambda leaf: (leaf.shape, leaf.dtype), batch_shapes(experiment, stage)
        )
        assert loaded == planned
