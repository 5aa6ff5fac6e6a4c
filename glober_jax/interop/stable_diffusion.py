"""Imports Stable Diffusion's VAE as a finished codec stage, and its UNet as initial weights."""

from pathlib import Path

from etils import epath

from glober_jax.errors import UserError
from glober_jax.experiment.options import Experiment
from glober_jax.interop import into_workdir, sd_codec, sd_unet
from glober_jax.interop.network import choose_naming
from glober_jax.interop.weights_file import inside, open_tensors
from glober_jax.training import autoencoder, codec, generator, init_from_pretrained
from glober_jax.training.restore import write_config

_WHOSE = "Stable Diffusion's"


def convert_vae(experiment: Experiment, file: Path, workdir: epath.Path) -> str:
    """Writes the codec of `file` to `workdir` as a finished stage; returns a description.

    Raises `UserError`, before anything is written, for a file that is unreadable or does not fit
    the config, and where a stage has begun.
    """
    networks, name = experiment.networks, "frame_codec"
    if networks.frame_codec.channels == sd_codec.CHANNELS:
        into_workdir.check_fields(networks, name, _WHOSE, groups=sd_codec.GROUPS)
    into_workdir.check_untrained(workdir, codec.NAME, autoencoder.NAME, generator.NAME)
    init_from_pretrained.check_pretrained(workdir, networks, autoencoder.NETWORKS)
    tensors = inside(open_tensors(file), sd_codec.CHECKPOINT_PREFIX)
    namings = sd_codec.codec_namings(networks.frame_codec)
    naming = choose_naming(tensors, networks.shapes((name,))[name], namings)
    advice = "give a Stable Diffusion VAE, and its sizes in config.model.frame_codec"
    arrays, lines = into_workdir.match(
        networks, tensors, {name: naming}, where=str(file), advice=advice
    )
    written = into_workdir.write_finished(experiment, workdir, codec.NAME, arrays, {})
    return "\n".join([*lines, f"{written}; train the rest with {into_workdir.TRAIN}"])


def convert_unet(experiment: Experiment, file: Path, workdir: epath.Path) -> str:
    """Writes the UNet of `file` to `workdir` for the autoencoder stage; returns a description.

    Raises `UserError`, before anything is written, for a file that is unreadable or does not fit
    the config, where the stage has begun, and where the codec is of another architecture.
    """
    networks, name = experiment.networks, "unet"
    if networks.unet.channels == sd_unet.CHANNELS:
        fields = {"groups": sd_unet.GROUPS, "head_dim": 0, "heads": sd_unet.HEADS}
        into_workdir.check_fields(networks, name, _WHOSE, **fields)
    into_workdir.check_untrained(workdir, autoencoder.NAME, generator.NAME)
    into_workdir.check_architecture(experiment, workdir, codec.NAME)
    tensors = inside(open_tensors(file), sd_unet.CHECKPOINT_PREFIX)
    other = sd_unet.other_architecture(tensors)
    looks = f"{file} looks like {other}, which the video decoder is not" if other else str(file)
    advice = (
        "give a UNet of Stable Diffusion 1, and its sizes in config.model.unet and "
        "config.model.global_tokens.width"
    )
    namings = sd_unet.unet_namings(networks.unet)
    naming = choose_naming(tensors, networks.shapes((name,))[name], namings)
    arrays, lines = into_workdir.match(
        networks, tensors, {name: naming}, where=looks, advice=advice
    )
    if other:
        raise UserError(f"{looks}; {advice}")
    target = init_from_pretrained.write_pretrained(workdir, name, arrays[name])
    write_config(workdir, experiment.source)
    files = {n: init_from_pretrained.pretrained_file(workdir, n) for n in autoencoder.NETWORKS}
    fresh = sorted(n for n, pretrained in files.items() if not pretrained.exists())
    lines.append(
        f"written to {target}, the initial weights of the autoencoder stage; left at initial "
        f"values: {', '.join(fresh)}; train with {into_workdir.TRAIN}"
    )
    # Settings that this UNet was trained with, where the config has others.
    settings = []
    if experiment.autoencoder.latent_scale != sd_codec.LATENT_SCALE:
        settings.append(f"--config.autoencoder.latent_scale={sd_codec.LATENT_SCALE}")
    if experiment.diffusion.prediction != "eps":
        settings.append("--config.diffusion.prediction=eps")
    if settings:
        lines.append(f"this UNet has learned with {' '.join(settings)}")
    return "\n".join(lines)
