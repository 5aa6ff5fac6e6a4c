"""Checkpoints of the authors' code: what is in them besides networks, and what may be missing."""

from pathlib import Path

import numpy as np
import pytest
from etils import epath
from safetensors.numpy import save_file

from glober_jax.config import parse
from glober_jax.errors import UserError
from glober_jax.experiment import Experiment
from glober_jax.interop import reference
from glober_jax.interop.reference_checkpoints import convert_autoencoder, convert_generator
from glober_jax.interop.stable_diffusion import convert_vae
from glober_jax.models.networks import Networks
from glober_jax.parallel.mesh import MeshShape, make_mesh
from glober_jax.training.restore import load_feature_model, load_frame_model
from tests.interop.released import released_tensors
from tests.tiny import tiny_config

Tensors = dict[str, np.ndarray]
# What every checkpoint of the release holds besides networks.
TABLES = {
    name: np.zeros(1000, np.float32)
    for name in ("betas", "alphas_cumprod_prev", "sqrt_recip_alphas_cumprod", "logvar")
}


def experiment_of(compat: str) -> Experiment:
    config = tiny_config()
    config.model.compat = compat
    config.model.condition.update({"kind": "unconditional", "num_classes": 0, "length": 6})
    config.sampling.condition_scale = 1.0
    return parse(config)


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return experiment_of("reference")


def tensors_of(networks: Networks, namings: dict) -> Tensors:
    return {
        published: tensor
        for seed, (name, naming) in enumerate(namings.items())
        for published, tensor in released_tensors(networks, name, naming, seed).items()
    }


@pytest.fixture(scope="module")
def autoencoder(experiment: Experiment) -> Tensors:
    """A checkpoint of a run without the adversarial stage."""
    namings = reference.autoencoder_file(experiment.networks)
    del namings["discriminator"]
    return TABLES | tensors_of(experiment.networks, namings)


@pytest.fixture(scope="module")
def generator(experiment: Experiment, autoencoder: Tensors) -> Tensors:
    """A checkpoint of the second stage, which holds much of the first one's."""
    namings = reference.generator_file(experiment.networks)
    text = {"cond_stage_model.transformer.weight": np.zeros((2, 2), np.float32)}
    first = {f"stable_ae.model.{name}": tensor for name, tensor in autoencoder.items()}
    return TABLES | text | first | tensors_of(experiment.networks, namings)


def test_both_stages_come_in(
    experiment: Experiment, autoencoder: Tensors, generator: Tensors, tmp_path: Path
) -> None:
    """Fails when a scale is measured, or the condition is looked for elsewhere.

    Broken: everything under `stable_ae.` passed over; the average not set.
    """
    workdir, mesh = epath.Path(tmp_path / "run"), make_mesh(MeshShape())
    files = tmp_path / "ae.safetensors", tmp_path / "generator.safetensors"
    save_file(autoencoder, files[0])
    save_file(generator, files[1])
    with pytest.raises(UserError, match="holds no autoencoder, without which"):
        convert_generator(experiment, files[1], workdir)
    said = convert_autoencoder(experiment, files[0], workdir)
    assert "left at initial values: discriminator" in said
    assert "frame_features: " in said and "named as in the authors' release" in said
    convert_generator(experiment, files[1], workdir)

    networks = experiment.networks
    _, model = load_frame_model(networks, workdir, mesh)
    np.testing.assert_allclose(model.latent_scale.deviation, 1 / 0.18215, rtol=1e-6)
    np.testing.assert_array_equal(
        model.params["global_tokens"]["domain"], np.float32(autoencoder["context_emb"])
    )
    _, features = load_feature_model(networks, workdir, mesh)
    assert not np.asarray(features.feature_scale.mean).any()
    np.testing.assert_array_equal(features.feature_scale.deviation, 1.0)
    np.testing.assert_array_equal(
        features.params["condition"]["tokens"], np.float32(generator["stable_ae.context_emb"])
    )
    with pytest.raises(UserError, match="already holds the generator stage"):
        convert_generator(experiment, files[1], workdir)


def test_a_file_without_a_codec_goes_beside_one(
    experiment: Experiment, autoencoder: Tensors, tmp_path: Path
) -> None:
    """Fails when a checkpoint saved without its frozen codec is of no use (broken: no second way).

    Nothing may be written as long as there is no codec at all.
    """
    codec = "first_stage_model."
    workdir = epath.Path(tmp_path / "run")
    file, vae = tmp_path / "ae.safetensors", tmp_path / "vae.safetensors"
    save_file({n: t for n, t in autoencoder.items() if not n.startswith(codec)}, file)
    save_file({n: t for n, t in autoencoder.items() if n.startswith(codec)}, vae)
    with pytest.raises(UserError, match="holds no frame codec, and neither does"):
        convert_autoencoder(experiment, file, workdir)
    assert not workdir.exists()
    convert_vae(experiment, vae, workdir)
    convert_autoencoder(experiment, file, workdir)
    _, model = load_frame_model(experiment.networks, workdir, make_mesh(MeshShape()))
    np.testing.assert_array_equal(
        model.params["frame_codec"]["from_latents"]["dense"]["bias"],
        np.float32(autoencoder[f"{codec}post_quant_conv.bias"]),
    )


def test_half_a_scale_is_said(experiment: Experiment, autoencoder: Tensors, tmp_path: Path) -> None:
    """Fails when a scale that is not whole is used, or ends in a stack trace (broken: both)."""
    file = tmp_path / "ae.safetensors"
    save_file(autoencoder | {"latent_scale.mean": np.zeros(4, np.float32)}, file)
    with pytest.raises(UserError, match=r"1 unexpected: latent_scale\.mean"):
        convert_autoencoder(experiment, file, epath.Path(tmp_path / "run"))


def test_what_theirs_lacks_is_said(autoencoder: Tensors, tmp_path: Path) -> None:
    """Fails when a person has to guess why names are missing (broken: no advice)."""
    file = tmp_path / "ae.safetensors"
    save_file(autoencoder, file)
    with pytest.raises(UserError) as caught:
        convert_autoencoder(experiment_of("none"), file, epath.Path(tmp_path / "run"))
    message = str(caught.value)
    assert "videocontent_enc.output_blocks.0.0.course.bias" in message
    assert message.endswith("theirs need --config.model.compat=reference")
    assert not (tmp_path / "run").exists()


def test_groups_that_the_file_cannot_tell(tmp_path: Path) -> None:
    """Fails when the published width is read with other groups (broken: no check)."""
    config = tiny_config()
    config.model.unet.update({"channels": 320, "heads": 8, "groups": 32})
    experiment = parse(config)
    with pytest.raises(UserError, match=r"config\.model\.frame_codec\.groups is 4"):
        convert_autoencoder(experiment, tmp_path / "none", epath.Path(tmp_path / "run"))
