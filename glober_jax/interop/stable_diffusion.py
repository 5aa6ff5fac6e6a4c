"""Stable Diffusion's networks into a workdir: its frame codec as a finished stage, its UNet as what
the video decoder begins with.
"""

from pathlib import Path

from etils import epath

from glober_jax.errors import UserError
from glober_jax.experiment import Experiment
from glober_jax.interop import sd_codec, sd_unet
from glober_jax.interop.into_workdir import (
    TRAIN,
    check_architecture,
    check_untrained,
    described,
    match,
    read,
    write_finished,
)
from glober_jax.interop.weights_file import inside, open_tensors
from glober_jax.training import autoencoder, codec, generator
from glober_jax.training.init_from_pretrained import (
    check_pretrained,
    pretrained_file,
    write_pretrained,
)
from glober_jax.training.restore import write_config


def convert_vae(experiment: Experiment, file: Path, workdir: epath.Path) -> str:
    """Writes the codec of `file` to `workdir` as a finished codec stage; returns what it was.

    Raises:
      UserError: a file that cannot be read or does not fit the config, or a workdir in which
        something was trained already. Nothing is written then.
    """
    networks = experiment.networks
    if networks.frame_codec.channels == sd_codec.CHANNELS:
        _check_fixed("frame_codec", networks.frame_codec, groups=sd_codec.GROUPS)
    check_untrained(workdir, codec.NAME, autoencoder.NAME, generator.NAME)
    check_pretrained(workdir, networks, autoencoder.NETWORKS)
    tensors = inside(open_tensors(file), sd_codec.CHECKPOINT_PREFIX)
    naming, arrays = match(
        networks,
        "frame_codec",
        tensors,
        sd_codec.codec_namings(networks.frame_codec),
        who=str(file),
        advice="give a Stable Diffusion VAE, and its sizes in config.model.frame_codec",
    )
    written = write_finished(experiment, workdir, codec.NAME, {"frame_codec": read(arrays)}, {})
    return f"{described('frame_codec', arrays, naming)}\n{written}; train the rest with {TRAIN}"


def convert_unet(experiment: Experiment, file: Path, workdir: epath.Path) -> str:
    """Leaves the UNet of `file` in `workdir` for the autoencoder stage; returns what it was.

    Raises:
      UserError: a file that cannot be read or does not fit the config, or a workdir in which the
        stage has begun, or whose codec is another config's. Nothing is written then.
    """
    networks = experiment.networks
    if networks.unet.channels == sd_unet.CHANNELS:
        _check_fixed("unet", networks.unet, groups=sd_unet.GROUPS, heads=sd_unet.HEADS)
    check_untrained(workdir, autoencoder.NAME, generator.NAME)
    check_architecture(experiment, workdir, codec.NAME)
    tensors = inside(open_tensors(file), sd_unet.CHECKPOINT_PREFIX)
    other = sd_unet.other_architecture(tensors)
    looks = f"{file} looks like {other}, which the video decoder is not" if other else str(file)
    advice = (
        "give a UNet of Stable Diffusion 1, and its sizes in config.model.unet and "
        "config.model.global_tokens.width"
    )
    naming, arrays = match(
        networks,
        "unet",
        tensors,
        sd_unet.unet_namings(networks.unet),
        who=looks,
        advice=advice,
    )
    if other:
        raise UserError(f"{looks}; {advice}")
    target = write_pretrained(workdir, "unet", arrays)
    write_config(workdir, experiment.source)
    fresh = sorted(n for n in autoencoder.NETWORKS if not pretrained_file(workdir, n).exists())
    return (
        f"{described('unet', arrays, naming)}\n"
        f"written to {target}, with which the autoencoder stage begins; left at initial values: "
        f"{', '.join(fresh)}; train with {TRAIN}{_settings_it_knows(experiment)}"
    )


def _settings_it_knows(experiment: Experiment) -> str:
    """What to train with, where the config differs from how Stable Diffusion has trained it."""
    settings = {
        "config.autoencoder.latent_scale": (
            experiment.autoencoder.latent_scale,
            sd_codec.LATENT_SCALE,
        ),
        "config.diffusion.prediction": (experiment.diffusion.prediction, "eps"),
    }
    flags = [f"--{key}={theirs}" for key, (ours, theirs) in settings.items() if ours != theirs]
    return f"\nthis UNet has learned with {' '.join(flags)}" if flags else ""


def _check_fixed(name: str, network: object, **fixed: int) -> None:
    """What shapes do not tell, so that a file of any other value would be misread in silence."""
    for key, value in fixed.items():
        if (here := getattr(network, key)) != value:
            raise UserError(
                f"config.model.{name}.{key} is {here}, but Stable Diffusion's is {value}, and its "
                f"files do not tell; set it to {value}"
            )
