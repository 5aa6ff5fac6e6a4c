"""Imports checkpoints of the authors' code into a workdir, and exports a workdir's networks.

The release multiplies codec latents by 0.18215 and does not scale global features. Exported files
hold our scales in additional tensors: `latent_scale.mean`, ...
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath
from safetensors import SafetensorError
from safetensors.numpy import save_file

from glober_jax.errors import UserError
from glober_jax.experiment.options import Experiment
from glober_jax.interop import into_workdir, reference, sd_codec, sd_unet
from glober_jax.interop.network import Naming, Part, export_networks
from glober_jax.interop.weights_file import StoredTensor, open_tensors
from glober_jax.models.generator import grid_positions
from glober_jax.models.latents import ChannelScale
from glober_jax.models.networks import AUTOENCODER, Networks, Params
from glober_jax.parallel.mesh import MeshShape, make_mesh
from glober_jax.training import autoencoder, codec, generator, restore
from glober_jax.training.checkpoint import newest_step
from glober_jax.training.packaged_model import is_packaged

_GROUPS = 32
# A parameter that the published networks do not have.
_OURS = "videocontent_enc.shortcut.weight"


def convert_autoencoder(experiment: Experiment, file: Path, workdir: epath.Path) -> str:
    """Writes the autoencoder and codec of `file` to `workdir` as finished stages.

    A codec that the file lacks must be in `workdir`; a missing discriminator gets initial values.
    Returns a description. Raises `UserError`, before anything is written, for a file that is
    unreadable or does not fit the config, and where these stages have begun.
    """
    networks = experiment.networks
    if networks.unet.channels == sd_unet.CHANNELS:
        for name in ("frame_codec", *AUTOENCODER, autoencoder.DISCRIMINATOR):
            into_workdir.check_fields(networks, name, "the authors' networks'", groups=_GROUPS)
    into_workdir.check_untrained(workdir, autoencoder.NAME, generator.NAME)
    tensors, scale = _split_scale(
        open_tensors(file), "latent_scale", sd_codec.LATENT_SCALE, networks.latent_shape[-1]
    )
    namings = reference.autoencoder_file(networks)
    for name in ("frame_codec", autoencoder.DISCRIMINATOR):
        if not any(tensor.startswith(namings[name].prefix) for tensor in tensors):
            del namings[name]
    if "frame_codec" in namings:
        into_workdir.check_untrained(workdir, codec.NAME)
    elif newest_step(workdir, codec.NAME) is None:
        raise UserError(
            f"{file} holds no frame codec, and neither does {workdir}; convert Stable Diffusion's "
            "first (sd_vae)"
        )
    else:
        into_workdir.check_architecture(experiment, workdir, codec.NAME)
    arrays, lines = _match(networks, tensors, namings, file)
    if missing := [name for name in autoencoder.NETWORKS if name not in namings]:
        lines.append(f"left at initial values: {', '.join(missing)}")
    if "frame_codec" in arrays:
        of_codec = {"frame_codec": arrays.pop("frame_codec")}
        lines.append(into_workdir.write_finished(experiment, workdir, codec.NAME, of_codec, {}))
    constants = {"latent_scale": scale}
    written = into_workdir.write_finished(experiment, workdir, autoencoder.NAME, arrays, constants)
    train = f"train the generator with {into_workdir.TRAIN}, or convert it (reference_generator)"
    return "\n".join([*lines, written, train])


def convert_generator(experiment: Experiment, file: Path, workdir: epath.Path) -> str:
    """Writes the generator of `file` to `workdir` as a finished stage; returns a description.

    Raises `UserError`, before anything is written, for a file that is unreadable or does not fit
    the config, and for a workdir without an autoencoder or with a generator.
    """
    networks = experiment.networks
    into_workdir.check_untrained(workdir, generator.NAME)
    if newest_step(workdir, autoencoder.NAME) is None:
        raise UserError(
            f"{workdir} holds no autoencoder; first convert the one that the generator was trained "
            "on (reference_autoencoder)"
        )
    into_workdir.check_architecture(experiment, workdir, codec.NAME, autoencoder.NAME)
    tensors, scale = _split_scale(
        open_tensors(file), "feature_scale", 1.0, networks.global_shape[-1]
    )
    arrays, lines = _match(networks, tensors, reference.generator_file(networks), file)
    constants = {"feature_scale": scale}
    written = into_workdir.write_finished(experiment, workdir, generator.NAME, arrays, constants)
    return "\n".join([*lines, f"{written}; make videos with python -m glober_jax.sample"])


def export(experiment: Experiment, workdir: epath.Path, output: epath.Path) -> str:
    """Writes the averaged networks of every stage of `workdir` to `output`; describes the files.

    `codec.safetensors` is for `sd_vae`, `autoencoder.safetensors` (with codec and discriminator)
    for `reference_autoencoder`, `generator.safetensors` for `reference_generator`: float32, in
    PyTorch's layouts. Packaged models have no discriminator. Raises `UserError` without a trained
    stage or where `output` is unwritable.
    """
    networks, mesh = experiment.networks, make_mesh(MeshShape())
    packaged, written = is_packaged(workdir), []
    if packaged or newest_step(workdir, codec.NAME) is not None:
        params = restore.load_codec(networks, workdir, mesh)[1]
        namings = {"frame_codec": sd_codec.codec_namings(networks.frame_codec)[0]}
        written.append(_write(output / "codec.safetensors", params, namings, {}))
    if packaged or newest_step(workdir, autoencoder.NAME) is not None:
        _, model = restore.load_frame_model(networks, workdir, mesh)
        params, namings = model.params, reference.autoencoder_file(networks)
        if packaged:
            del namings[autoencoder.DISCRIMINATOR]
        else:
            params = params | restore.load_network(
                networks, workdir, autoencoder.NAME, autoencoder.DISCRIMINATOR, mesh
            )
        extra = _scale_tensors("latent_scale", model.latent_scale)
        written.append(_write(output / "autoencoder.safetensors", params, namings, extra))
    if packaged or newest_step(workdir, generator.NAME) is not None:
        _, features = restore.load_feature_model(networks, workdir, mesh)
        namings = reference.generator_file(networks)
        extra = _scale_tensors("feature_scale", features.feature_scale)
        patches = networks.global_shape[0] // networks.generator.patch_size
        # A constant that the release stores as a parameter.
        positions = grid_positions(patches, patches, networks.generator.width)
        extra[f"{sd_unet.CHECKPOINT_PREFIX}pos_embed"] = np.asarray(positions)[None]
        written.append(_write(output / "generator.safetensors", features.params, namings, extra))
    if not written:
        raise UserError(f"{workdir} holds no trained stage to export")
    return "\n".join(written)


def _match(
    networks: Networks,
    tensors: Mapping[str, StoredTensor],
    namings: Mapping[str, Naming],
    file: Path,
) -> tuple[dict[str, dict[str, StoredTensor]], list[str]]:
    """`into_workdir.match` with advice on the config."""
    advice = "give a checkpoint of the authors' code, and its sizes in config.model"
    if networks.video_encoder.compat == "none" and _OURS not in tensors:
        advice += "; theirs need --config.model.compat=reference"
    return into_workdir.match(networks, tensors, namings, where=str(file), advice=advice)


def _split_scale(
    tensors: Mapping[str, StoredTensor], name: str, published: float, channels: int
) -> tuple[dict[str, StoredTensor], ChannelScale]:
    """The tensors without those of the scale, and the scale, by default the published one."""
    parts = [f"{name}.{field}" for field in ChannelScale._fields]
    # An incomplete scale, or one of another size, is reported as an unexpected tensor.
    if any(part not in tensors or tensors[part].shape != (channels,) for part in parts):
        return dict(tensors), ChannelScale.constant(published, channels)
    rest = {key: tensor for key, tensor in tensors.items() if key not in parts}
    return rest, ChannelScale(*(np.asarray(tensors[part]) for part in parts))


def _scale_tensors(name: str, scale: ChannelScale) -> dict[str, np.ndarray]:
    return {f"{name}.{field}": np.asarray(value) for field, value in scale._asdict().items()}


def _write(
    file: epath.Path, params: Params, namings: Mapping[str, Naming], extra: Mapping[str, Any]
) -> str:
    parts = [Part(params[name], naming) for name, naming in namings.items()]
    tensors = {
        name: np.ascontiguousarray(array, np.float32)
        for name, array in (*export_networks(parts), *extra.items())
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, str(file), metadata={"format": "pt"})
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot write {file}: {error}; choose another --output") from error
    return f"{file}: {len(tensors)} tensors"
