"""Checkpoints of the authors' code: what is in them besides networks, and what may be missing."""

from pathlib import Path

import numpy as np
import pytest
from etils import epath
from safetensors.numpy import load_file, save_file

from glober_jax.errors import UserError
from glober_jax.experiment.config import parse
from glober_jax.experiment.options import Experiment
from glober_jax.interop import into_workdir, reference
from glober_jax.interop.reference_checkpoints import (
    convert_autoencoder,
    convert_generator,
    export,
)
from glober_jax.models.networks import Networks
from glober_jax.training.checkpoint import StageCheckpoints
from glober_jax.training.restore import load_config
from tests.interop.released import released_tensors
from tests.tiny import tiny_config

Tensors = dict[str, np.ndarray]
CODEC = "first_stage_model."
# What every checkpoint of the release holds besides networks.
TABLES = {
    name: np.zeros(1000, np.float32)
    for name in ("betas", "alphas_cumprod_prev", "sqrt_recip_alphas_cumprod", "logvar")
}


def experiment_of(compat: str, **unet: int) -> Experiment:
    config = tiny_config()
    config.model.compat = compat
    config.model.condition.update({"kind": "unconditional", "num_classes": 0, "length": 6})
    config.model.unet.update(unet)
    config.sampling.condition_scale = 1.0
    return parse(config)


def tensors_of(networks: Networks, namings: dict) -> Tensors:
    return {
        published: tensor
        for seed, (name, naming) in enumerate(namings.items())
        for published, tensor in released_tensors(networks, name, naming, seed).items()
    }


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return experiment_of("reference")


@pytest.fixture(scope="module")
def autoencoder(experiment: Experiment) -> Tensors:
    """A checkpoint of a run without the adversarial stage."""
    namings = reference.autoencoder_file(experiment.networks)
    del namings["discriminator"]
    return TABLES | tensors_of(experiment.networks, namings)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[dict, dict]]:
    """Arrays and constants of stages by name, in place of checkpoints.

    That those are written as they should be is tested end to end.
    """
    stages: dict[str, tuple[dict, dict]] = {}

    def write(experiment: object, workdir: object, name: str, arrays: dict, constants: dict):
        stages[name] = arrays, constants
        return f"written {name}"

    monkeypatch.setattr(into_workdir, "write_finished", write)
    return stages


def begin(stage: str, workdir: Path, experiment: Experiment) -> None:
    with StageCheckpoints(workdir, stage, experiment.source) as checkpoints:
        checkpoints.save(4, {"step": np.zeros(())})


def test_both_stages_come_in(
    experiment: Experiment, autoencoder: Tensors, written: dict, tmp_path: Path
) -> None:
    """Fails when a scale is measured, the condition is looked for elsewhere, or a checkpoint that
    was saved without its frozen codec is of no use beside one.
    """
    workdir, networks = epath.Path(tmp_path / "run"), experiment.networks
    namings = reference.generator_file(networks)
    text = {"cond_stage_model.transformer.weight": np.zeros((2, 2), np.float32)}
    first = {f"stable_ae.model.{name}": tensor for name, tensor in autoencoder.items()}
    generator = TABLES | text | first | tensors_of(networks, namings)
    files = {name: tmp_path / f"{name}.safetensors" for name in ("whole", "part", "generator")}
    save_file(autoencoder, files["whole"])
    save_file({n: t for n, t in autoencoder.items() if not n.startswith(CODEC)}, files["part"])
    save_file(generator, files["generator"])
    with pytest.raises(UserError, match="holds no frame codec, and neither does"):
        convert_autoencoder(experiment, files["part"], workdir)
    with pytest.raises(UserError, match="holds no autoencoder; first convert"):
        convert_generator(experiment, files["generator"], workdir)
    said = convert_autoencoder(experiment, files["whole"], workdir)
    assert "left at initial values: discriminator\nwritten codec\nwritten autoencoder" in said
    assert "frame_features: " in said and "named as in the authors' release" in said
    codec, _ = written.pop("codec")
    begin("codec", workdir, experiment)
    convert_autoencoder(experiment, files["part"], workdir)
    assert written.keys() == {"autoencoder"}
    begin("autoencoder", workdir, experiment)
    convert_generator(experiment, files["generator"], workdir)
    arrays, constants = written["autoencoder"]
    np.testing.assert_allclose(constants["latent_scale"].deviation, 1 / 0.18215, rtol=1e-6)
    features, constants = written["generator"]
    assert not np.asarray(constants["feature_scale"].mean).any()
    np.testing.assert_array_equal(constants["feature_scale"].deviation, 1.0)
    for ours, theirs in (
        (arrays["global_tokens"]["domain"], autoencoder["context_emb"]),
        (
            codec["frame_codec"]["from_latents/dense/bias"],
            autoencoder[f"{CODEC}post_quant_conv.bias"],
        ),
        (features["condition"]["tokens"], generator["stable_ae.context_emb"]),
    ):
        np.testing.assert_array_equal(ours, np.float32(theirs))
    begin("generator", workdir, experiment)
    with pytest.raises(UserError, match="already holds the generator stage"):
        convert_generator(experiment, files["generator"], workdir)


def test_a_packaged_model_is_exported(tmp_path: Path) -> None:
    """Fails when `export` looks for checkpoints, or for the discriminator, of a packaged model."""
    model = epath.Path("builtin:sky64")
    export(parse(load_config(model)), model, epath.Path(tmp_path))
    files = {file.stem: load_file(file) for file in tmp_path.iterdir()}
    assert files.keys() == {"codec", "autoencoder", "generator"}
    assert "latent_scale.mean" in files["autoencoder"]
    assert not any(name.startswith("discriminator.") for name in files["autoencoder"])


@pytest.mark.parametrize(
    ("compat", "extra", "says"),
    [
        # One tensor of a scale alone.
        ("reference", {"latent_scale.mean": np.zeros(4, np.float32)}, "1 unexpected: latent_"),
        ("none", {}, r"\.course\.bias.*; theirs need --config\.model\.compat=reference$"),
    ],
)
def test_files_that_do_not_fit(
    compat: str, extra: Tensors, says: str, autoencoder: Tensors, tmp_path: Path
) -> None:
    """Fails when half a scale is used, or a person has to guess why names are missing."""
    file = tmp_path / "ae.safetensors"
    save_file(autoencoder | extra, file)
    with pytest.raises(UserError, match=says):
        convert_autoencoder(experiment_of(compat), file, epath.Path(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_groups_that_the_file_cannot_tell(tmp_path: Path) -> None:
    """Fails when the published width is read with other groups."""
    experiment = experiment_of("none", channels=320, heads=8, groups=32)
    with pytest.raises(UserError, match=r"config\.model\.frame_codec\.groups is 4"):
        convert_autoencoder(experiment, tmp_path / "none", epath.Path(tmp_path / "run"))
