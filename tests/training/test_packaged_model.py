"""A model of the package is used by its name, as if it had been trained here."""

import hashlib
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import quickstart
from glober_jax import builtin, pretrained
from glober_jax.errors import UserError
from glober_jax.experiment import config
from glober_jax.models.latents import ChannelScale
from glober_jax.models.networks import AUTOENCODER
from glober_jax.parallel.mesh import make_mesh
from glober_jax.sampling.decode import FrameModel, VideoSampler
from glober_jax.training import autoencoder, codec, generator
from glober_jax.training.packaged_model import (
    refuse_packaged,
    results_folder,
    when_saved,
    write_packaged,
)
from glober_jax.training.restore import load_network, load_pretrained_codec
from tests.tiny import drawn_glober, single_level_config

NAME = "builtin:tiny"


@pytest.mark.parametrize("name", builtin.MODELS)
def test_what_is_shipped_loads_and_is_what_its_card_says(name: str) -> None:
    """Fails when the weights do not fit their own config, are too large, or are not the card's."""
    file = builtin.weights_file(name)
    assert file.stat().st_size <= 16e6
    assert hashlib.sha256(file.read_bytes()).hexdigest() in file.with_suffix(".md").read_text()
    model = pretrained.load(f"builtin:{name}")
    init = partial(model.networks.init_all, generator.NETWORKS)
    shapes = jax.tree.map(lambda leaf: leaf.shape, jax.eval_shape(init, jax.random.key(0)))
    loaded = model.feature_model.params
    assert jax.tree.map(jnp.shape, loaded) == shapes
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(loaded))
    assert len(model.names) == model.networks.condition.num_classes


def test_the_package_is_small() -> None:
    """Fails when the package with its models is more than people want to download: 25 MB."""
    files = (file for file in Path(builtin.__file__).parents[1].rglob("*") if file.is_file())
    assert sum(file.stat().st_size for file in files if file.suffix != ".pyc") < 25e6


def test_it_is_a_workdir_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when parameters, scales, steps or classes are lost or mixed up on the way."""
    monkeypatch.setattr(builtin, "MODELS", ("tiny",))
    files = {"tiny": tmp_path / "tiny.safetensors", "f4": builtin.weights_file("f4")}
    monkeypatch.setattr(builtin, "weights_file", files.__getitem__)
    stored = single_level_config()
    stored.model.frame_codec = quickstart.get_config().model.frame_codec
    stored.codec.pretrained = "builtin:f4"
    experiment = config.parse(stored)
    networks, mesh = experiment.networks, make_mesh(experiment.mesh)
    glober = drawn_glober(experiment)
    models = jax.tree.map(  # As stored.
        lambda leaf: leaf.astype(jnp.float16).astype(jnp.float32),
        (glober.frame_model, glober.feature_model),
    )
    frame_model, feature_model = models
    drawn = {name: feature_model.params[name] for name in generator.NETWORKS}
    ema = {name: frame_model.params[name] for name in AUTOENCODER}
    latent_scale = {"latent_scale": ChannelScale(jnp.arange(8) / 7.0, jnp.arange(1.0, 9) / 9)}
    feature_scale = {"feature_scale": feature_model.feature_scale}
    classes = ("clear", "broken", "overcast", "sunset")
    stages = {
        autoencoder.NAME: (3, {"ema": ema, "constants": latent_scale}),
        generator.NAME: (5, {"ema": drawn, "constants": feature_scale}),
    }
    write_packaged(tmp_path / "tiny.safetensors", experiment.source, classes, stages)
    model = pretrained.load(NAME)
    assert model.trained_steps == {autoencoder.NAME: 3, generator.NAME: 5}
    assert model.condition("sunset") is not None
    whole = ema | load_pretrained_codec(networks, "builtin:f4", mesh)
    jax.tree.map(np.testing.assert_array_equal, model.feature_model.params, drawn)
    scales = (model.feature_model.feature_scale, feature_model.feature_scale)
    jax.tree.map(np.testing.assert_array_equal, *scales)
    features = np.ones((1, *networks.global_shape), np.float32)
    sampler = VideoSampler(networks, experiment.diffusion, experiment.sampling, mesh)
    expected_model = FrameModel(whole, latent_scale["latent_scale"])
    expected = sampler.decode(expected_model, features, np.zeros(1), 0)
    np.testing.assert_array_equal(model.decode(features, [0.0]), expected)

    assert results_folder(NAME).as_posix() == "runs/tiny"
    assert len(str(when_saved(NAME, "generator", 5))) == 64
    with pytest.raises(UserError, match="builtin:tiny is read-only"):
        refuse_packaged(NAME)
    with pytest.raises(UserError, match="builtin:tiny holds only what makes videos"):
        load_network(networks, NAME, codec.NAME, "patch_discriminator", mesh)
    with pytest.raises(
        UserError, match=r"builtin:sky6 does not come .*: choose one of builtin:tiny"
    ):
        pretrained.load("builtin:sky6")
