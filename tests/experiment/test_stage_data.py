"""Batches are known without data, and mirrored on the devices."""

from pathlib import Path

import jax
import numpy as np
import pytest

from glober_jax.data.damage import DamageLog
from glober_jax.data.datasets.make import make_dataset
from glober_jax.data.datasets.synthetic_sky import SyntheticSkyOptions
from glober_jax.data.latent_videos import make_latents, open_latents
from glober_jax.data.loader import training_batches
from glober_jax.data.source import open_videos
from glober_jax.experiment.config import parse
from glober_jax.experiment.stages import batch_shapes, reads_text, stage_clip
from glober_jax.parallel.mesh import MeshShape, batch_sharding, make_mesh
from glober_jax.training.device_batch import device_batch
from tests.texts import CLIP_LENGTH, CLIP_WIDTH, write_captioned
from tests.tiny import tiny_config


@pytest.mark.parametrize(("cached", "kind"), [(False, "class"), (False, "text"), (True, "class")])
def test_batches_are_known_without_data(tmp_path: Path, cached: bool, kind: str) -> None:
    """Fails when a field, shape or dtype of a stage's batches is another than is planned with."""
    config = tiny_config()
    config.data.update({"cache_latents": cached, "flip": False})
    if kind == "text":
        folder = write_captioned(tmp_path)
        config.clip.num_frames = config.model.frame_features.index_slots = 8
        config.model.condition.update({"kind": kind, "length": CLIP_LENGTH, "num_classes": 0})
        config.model.generator.context_width = CLIP_WIDTH
    else:
        folder = tmp_path / "sky"
        sky = SyntheticSkyOptions(num_videos=8, num_test_videos=1, num_frames=16, size=16)
        make_dataset(sky, folder)
    experiment = parse(config)
    source = videos = open_videos(folder, "train")
    if cached:
        shape = (8, 8, 2 * experiment.networks.latent_shape[-1])

        def encode(frames: np.ndarray) -> np.ndarray:
            return np.zeros((len(frames), *shape), np.float16)

        damage = DamageLog(len(videos), 0.0)
        latents = tmp_path / "latents"
        make_latents(latents, videos, encode, shape, "codec", flip=False, damage=damage, command="")
        source = open_latents(tmp_path / "latents", videos, "codec", flip=False)
    for stage in ("codec", "autoencoder", "generator"):
        batches = training_batches(
            videos if stage == "codec" else source,
            stage_clip(experiment, stage),
            batch_size=getattr(experiment, stage).batch_size,
            seed=0,
            text=reads_text(experiment, stage),
        )
        loaded = {name: (rows.shape, rows.dtype) for name, rows in next(batches).items()}
        shapes = batch_shapes(experiment, stage)
        assert loaded == jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), shapes)


def test_marked_clips_are_mirrored() -> None:
    """Fails when clips are mirrored that are not marked, upside down, or in only one field."""
    mesh = make_mesh(MeshShape(data=-1, fsdp=1, tensor=1))
    rng = np.random.default_rng(0)
    keys, targets = (rng.integers(0, 256, (8, count, 4, 6, 3), np.uint8) for count in (3, 2))
    mirrored = np.arange(8) % 3 == 0
    batch = {"key_frames": keys, "target_frames": targets, "label": np.arange(8, dtype=np.int32)}
    plain = device_batch(batch, mesh)
    marked = device_batch(batch | {"mirrored": mirrored}, mesh)
    assert plain.keys() == marked.keys() == batch.keys()
    for name, rows in batch.items():
        assert marked[name].sharding == plain[name].sharding == batch_sharding(mesh)
        np.testing.assert_array_equal(plain[name], rows)
        np.testing.assert_array_equal(marked[name][~mirrored], rows[~mirrored])
    for name in ("key_frames", "target_frames"):
        np.testing.assert_array_equal(marked[name][mirrored], batch[name][mirrored, ..., ::-1, :])
