"""Stable Diffusion's networks into a workdir: its frame codec as a finished stage, its UNet as what
the video decoder begins with.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from glober_jax.errors import UserError
from glober_jax.experiment import Experiment
from glober_jax.interop import sd_codec, sd_unet
from glober_jax.interop.network import Naming, Part, choose_naming, match_networks
from glober_jax.interop.stored_tensor import StoredTensor
from glober_jax.interop.weights_file import inside, open_tensors
from glober_jax.models.networks import Networks
from glober_jax.parallel.mesh import MeshShape, make_mesh
from glober_jax.training import autoencoder, codec, generator
from glober_jax.training.checkpoint import StageCheckpoints, newest_step
from glober_jax.training.initial import check_initial, initial_file, write_initial
from glober_jax.training.trained import write_config

_TRAIN = "python -m glober_jax.main, the same --config and --workdir"


def convert_vae(experiment: Experiment, file: Path, workdir: epath.Path) -> str:
    """Writes the codec of `file` to `workdir` as a finished codec stage; returns what it was.

    Raises:
      UserError: a file that cannot be read or does not fit the config, or a workdir in which
        something was trained already. Nothing is written then.
    """
    networks = experiment.networks
    _check_fixed("frame_codec", networks.frame_codec, groups=sd_codec.GROUPS)
    _check_untrained(workdir, codec.NAME, autoencoder.NAME, generator.NAME)
    check_initial(workdir, networks, autoencoder.NETWORKS)
    tensors = inside(open_tensors(file), sd_codec.CHECKPOINT_PREFIX)
    naming, arrays = _match(
        networks,
        "frame_codec",
        tensors,
        sd_codec.codec_namings(networks.frame_codec),
        who=str(file),
        advice="give a Stable Diffusion VAE, and its sizes in config.model.frame_codec",
    )
    # Each array is read, and forgotten by NumPy, before the next one.
    flat = {path: jnp.asarray(np.asarray(array)) for path, array in arrays.items()}
    params = flax.traverse_util.unflatten_dict(flat, sep="/")
    # Checkpoints can be restored on any mesh: the config's may be of another machine.
    stage = codec.CodecStage(networks, experiment.codec, experiment.seed, make_mesh(MeshShape()))
    with StageCheckpoints(workdir, codec.NAME, experiment.source) as checkpoints:
        checkpoints.save(experiment.codec.steps, stage.adopt({"frame_codec": params}))
    write_config(workdir, experiment.source)
    return (
        f"{_described('frame_codec', arrays, naming)}\n"
        f"written to {workdir}/{codec.NAME} as a stage that is finished at step "
        f"{experiment.codec.steps}; train the rest with {_TRAIN}"
    )


def convert_unet(experiment: Experiment, file: Path, workdir: epath.Path) -> str:
    """Leaves the UNet of `file` in `workdir` for the autoencoder stage; returns what it was.

    Raises:
      UserError: a file that cannot be read or does not fit the config, or a workdir in which the
        stage has begun, or whose codec is another config's. Nothing is written then.
    """
    networks = experiment.networks
    _check_fixed("unet", networks.unet, groups=sd_unet.GROUPS, heads=sd_unet.HEADS)
    _check_untrained(workdir, autoencoder.NAME, generator.NAME)
    if newest_step(workdir, codec.NAME) is not None:
        with StageCheckpoints(workdir, codec.NAME, experiment.source):
            pass  # Opening refuses a workdir that holds another architecture.
    tensors = inside(open_tensors(file), sd_unet.CHECKPOINT_PREFIX)
    other = sd_unet.other_architecture(tensors)
    looks = f"{file} looks like {other}, which the video decoder is not" if other else str(file)
    advice = (
        "give a UNet of Stable Diffusion 1, and its sizes in config.model.unet and "
        "config.model.global_tokens.width"
    )
    naming, arrays = _match(
        networks,
        "unet",
        tensors,
        sd_unet.unet_namings(networks.unet),
        who=looks,
        advice=advice,
    )
    if other:
        raise UserError(f"{looks}; {advice}")
    target = write_initial(workdir, "unet", arrays)
    write_config(workdir, experiment.source)
    fresh = sorted(n for n in autoencoder.NETWORKS if not initial_file(workdir, n).exists())
    return (
        f"{_described('unet', arrays, naming)}\n"
        f"written to {target}, with which the autoencoder stage begins; left at initial values: "
        f"{', '.join(fresh)}; train with {_TRAIN}"
    )


def _check_fixed(name: str, network: object, **fixed: int) -> None:
    """What shapes do not tell, so that a file of any other value would be misread in silence."""
    for key, value in fixed.items():
        if (here := getattr(network, key)) != value:
            raise UserError(
                f"config.model.{name}.{key} is {here}, but Stable Diffusion's is {value}, and its "
                f"files do not tell; set it to {value}"
            )


def _check_untrained(workdir: epath.Path, *stages: str) -> None:
    for stage in stages:
        if (step := newest_step(workdir, stage)) is not None:
            raise UserError(
                f"{workdir} already holds the {stage} stage, at step {step}; "
                "choose another --workdir"
            )


def _match(
    networks: Networks,
    name: str,
    tensors: Mapping[str, StoredTensor],
    namings: Sequence[Naming],
    *,
    who: str,
    advice: str,
) -> tuple[Naming, dict[str, StoredTensor]]:
    """The naming that was found, and the network's parameters by path, unread."""
    shapes = jax.eval_shape(lambda: networks.init(name, jax.random.key(0)))
    naming = choose_naming(tensors, shapes, namings)
    try:
        return naming, match_networks(tensors, {name: Part(shapes, naming)})[name]
    except UserError as error:
        raise UserError(f"{who}: {error}; {advice}") from error


def _described(name: str, arrays: Mapping[str, StoredTensor], naming: Naming) -> str:
    count = sum(int(np.prod(array.shape)) for array in arrays.values())
    return f"{name}: {len(arrays)} tensors, {count:,} parameters, named as in {naming.title}"
