"""Checkpoints of the authors' code into a workdir, and a workdir's networks out under their names.

The release multiplies codec latents by 0.18215 and does not scale global features. Files written
here say what scales ours were trained with, in tensors of their own: `latent_scale.mean`, ...
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from etils import epath
from safetensors import SafetensorError
from safetensors.numpy import save_file

from glober_jax.errors import UserError
from glober_jax.experiment import Experiment
from glober_jax.interop import reference, sd_codec, sd_unet
from glober_jax.interop.into_workdir import (
    TRAIN,
    check_architecture,
    check_untrained,
    described,
    read,
    write_finished,
)
from glober_jax.interop.network import Naming, Part, export_networks, match_networks
from glober_jax.interop.stored_tensor import StoredTensor
from glober_jax.interop.weights_file import open_tensors
from glober_jax.models.generator import grid_positions
from glober_jax.models.latents import ChannelScale
from glober_jax.models.networks import AUTOENCODER, Networks, Params
from glober_jax.parallel.mesh import MeshShape, make_mesh
from glober_jax.training import autoencoder, codec, generator
from glober_jax.training.checkpoint import newest_step
from glober_jax.training.restore import (
    load_codec,
    load_feature_model,
    load_frame_model,
    load_network,
)

_GROUPS = 32
# What our networks have and the published ones do not.
_OURS = "videocontent_enc.shortcut.weight"


def convert_autoencoder(experiment: Experiment, file: Path, workdir: epath.Path) -> str:
    """Writes the autoencoder of `file`, and its codec, to `workdir` as finished stages.

    A file without a codec goes beside one that is there already, one without a discriminator leaves
    that at its initial values. Returns what was written.

    Raises:
      UserError: a file that cannot be read or does not fit the config, or a workdir in which these
        stages have begun. Nothing is written then.
    """
    networks = experiment.networks
    if networks.unet.channels == sd_unet.CHANNELS:
        _check_groups(networks)
    check_untrained(workdir, autoencoder.NAME, generator.NAME)
    tensors, scale = _split_scale(
        open_tensors(file), "latent_scale", sd_codec.LATENT_SCALE, networks.latent_shape[-1]
    )
    namings = reference.autoencoder_file(networks)
    for name in ("frame_codec", autoencoder.DISCRIMINATOR):
        if not any(tensor.startswith(namings[name].prefix) for tensor in tensors):
            del namings[name]
    if "frame_codec" in namings:
        check_untrained(workdir, codec.NAME)
    elif newest_step(workdir, codec.NAME) is None:
        raise UserError(
            f"{file} holds no frame codec, and neither does {workdir}; convert Stable Diffusion's "
            "first (sd_vae)"
        )
    else:
        check_architecture(experiment, workdir, codec.NAME)
    arrays = _match(networks, namings, tensors, file)
    params = {name: read(found) for name, found in arrays.items()}
    written = []
    if "frame_codec" in params:
        codec_params = {"frame_codec": params.pop("frame_codec")}
        written.append(write_finished(experiment, workdir, codec.NAME, codec_params, {}))
    constants = {"latent_scale": scale}
    written.append(write_finished(experiment, workdir, autoencoder.NAME, params, constants))
    fresh = ", ".join(name for name in autoencoder.NETWORKS if name not in namings)
    return "\n".join(
        [
            *(described(name, arrays[name], naming) for name, naming in namings.items()),
            *([f"left at initial values: {fresh}"] if fresh else []),
            *written,
            f"train the generator with {TRAIN}, or convert it (reference_generator)",
        ]
    )


def convert_generator(experiment: Experiment, file: Path, workdir: epath.Path) -> str:
    """Writes the generator of `file` to `workdir` as a finished stage; returns what it was.

    Raises:
      UserError: a file that cannot be read or does not fit the config, or a workdir without an
        autoencoder or with a generator. Nothing is written then.
    """
    networks = experiment.networks
    check_untrained(workdir, generator.NAME)
    if newest_step(workdir, autoencoder.NAME) is None:
        raise UserError(
            f"{workdir} holds no autoencoder, without which global features are no videos; convert "
            "the one that the generator was trained on first (reference_autoencoder)"
        )
    check_architecture(experiment, workdir, codec.NAME, autoencoder.NAME)
    tensors, scale = _split_scale(
        open_tensors(file), "feature_scale", 1.0, networks.global_shape[-1]
    )
    namings = reference.generator_file(networks)
    arrays = _match(networks, namings, tensors, file)
    params = {name: read(found) for name, found in arrays.items()}
    written = write_finished(experiment, workdir, generator.NAME, params, {"feature_scale": scale})
    lines = [described(name, arrays[name], naming) for name, naming in namings.items()]
    return "\n".join([*lines, f"{written}; make videos with python -m glober_jax.sample"])


def export(experiment: Experiment, workdir: epath.Path, output: Path) -> str:
    """Writes the averaged networks of every stage of `workdir` to files in `output`; says which.

    `codec.safetensors` is what `sd_vae` takes, `autoencoder.safetensors` what
    `reference_autoencoder` takes (with the codec and the discriminator), `generator.safetensors`
    what `reference_generator` takes. All float32, in PyTorch's layouts.

    Raises:
      UserError: nothing was trained there, or `output` cannot be written.
    """
    networks, mesh = experiment.networks, make_mesh(MeshShape())
    trained = {
        name
        for name in (codec.NAME, autoencoder.NAME, generator.NAME)
        if newest_step(workdir, name) is not None
    }
    if not trained:
        raise UserError(f"{workdir} holds no trained stage to export")
    written = []
    if codec.NAME in trained:
        params = load_codec(networks, workdir, mesh)[1]
        naming = sd_codec.codec_namings(networks.frame_codec)[0]
        parts = [Part(params["frame_codec"], naming)]
        written.append(_write(output / "codec.safetensors", parts, {}))
    if autoencoder.NAME in trained:
        _, model = load_frame_model(networks, workdir, mesh)
        params = model.params | load_network(
            networks, workdir, autoencoder.NAME, "discriminator", mesh
        )
        parts = _parts(params, reference.autoencoder_file(networks))
        extra = _scale_tensors("latent_scale", model.latent_scale)
        written.append(_write(output / "autoencoder.safetensors", parts, extra))
    if generator.NAME in trained:
        _, features = load_feature_model(networks, workdir, mesh)
        parts = _parts(features.params, reference.generator_file(networks))
        extra = _scale_tensors("feature_scale", features.feature_scale)
        patches = networks.global_shape[0] // networks.generator.patch_size
        # Fixed, and a parameter to the release.
        positions = grid_positions(patches, patches, networks.generator.width)
        extra[f"{sd_unet.CHECKPOINT_PREFIX}pos_embed"] = np.asarray(positions)[None]
        written.append(_write(output / "generator.safetensors", parts, extra))
    return "\n".join(written)


def _check_groups(networks: Networks) -> None:
    """What shapes do not tell, so that a file of any other value would be misread in silence."""
    for name in ("frame_codec", *AUTOENCODER, "discriminator"):
        groups = getattr(getattr(networks, name), "groups", _GROUPS)
        if groups != _GROUPS:
            raise UserError(
                f"config.model.{name}.groups is {groups}, but the authors' networks normalise in "
                f"{_GROUPS} groups, and their files do not tell; set it to {_GROUPS}"
            )


def _match(
    networks: Networks,
    namings: Mapping[str, Naming],
    tensors: Mapping[str, StoredTensor],
    file: Path,
) -> dict[str, dict[str, StoredTensor]]:
    key = jax.random.key(0)
    shapes = jax.eval_shape(lambda: networks.init_all(tuple(namings), key))
    try:
        return match_networks(
            tensors, {name: Part(shapes[name], naming) for name, naming in namings.items()}
        )
    except UserError as error:
        advice = "give a checkpoint of the authors' code, and its sizes in config.model"
        if networks.video_encoder.compat == "none" and _OURS not in tensors:
            advice += "; theirs need --config.model.compat=reference"
        raise UserError(f"{file}: {error}; {advice}") from error


def _split_scale(
    tensors: Mapping[str, StoredTensor], name: str, published: float, channels: int
) -> tuple[dict[str, StoredTensor], ChannelScale]:
    """The tensors without those of the scale, and the scale: the published one where none is."""
    parts = [f"{name}.{field}" for field in ChannelScale._fields]
    # One alone, or of another size, is left among the tensors and told as unexpected.
    if any(part not in tensors or tensors[part].shape != (channels,) for part in parts):
        return dict(tensors), ChannelScale.constant(published, channels)
    rest = {key: tensor for key, tensor in tensors.items() if key not in parts}
    return rest, ChannelScale(*(np.asarray(tensors[part]) for part in parts))


def _scale_tensors(name: str, scale: ChannelScale) -> dict[str, np.ndarray]:
    return {f"{name}.{field}": np.asarray(value) for field, value in scale._asdict().items()}


def _parts(params: Params, namings: Mapping[str, Naming]) -> list[Part]:
    return [Part(params[name], naming) for name, naming in namings.items()]


def _write(file: Path, parts: list[Part], extra: Mapping[str, Any]) -> str:
    tensors = {
        name: np.ascontiguousarray(array, np.float32)
        for name, array in (*export_networks(parts), *extra.items())
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, file, metadata={"format": "pt"})
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot write {file}: {error}; choose another --output") from error
    return f"{file}: {len(tensors)} tensors"
