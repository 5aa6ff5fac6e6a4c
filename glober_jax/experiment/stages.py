"""The stages of an experiment, by name: what training, planning and conversion build alike."""

from typing import Any, NamedTuple

import jax
from jax.sharding import AbstractMesh, Mesh

from glober_jax.experiment.options import Experiment
from glober_jax.experiment.stage_data import batch_shapes
from glober_jax.models import lpips
from glober_jax.models.networks import AUTOENCODER
from glober_jax.sampling.decode import FrameModel
from glober_jax.training import autoencoder, codec, generator
from glober_jax.training.restore import constant_shapes
from glober_jax.training.state import StepFunction, TrainState

STAGES = (codec.NAME, autoencoder.NAME, generator.NAME)

AnyStage = codec.CodecStage | autoencoder.AutoencoderStage | generator.GeneratorStage


def build_stage(experiment: Experiment, name: str, mesh: Mesh | AbstractMesh) -> AnyStage:
    """The pure functions of stage `name`: `create`, `programs`, `step` and `gradients`."""
    networks, options, seed = experiment.networks, getattr(experiment, name), experiment.seed
    if name == codec.NAME:
        return codec.CodecStage(networks, options, seed, mesh)
    if name == autoencoder.NAME:
        return autoencoder.AutoencoderStage(networks, experiment.diffusion, options, seed, mesh)
    process = experiment.generator_diffusion
    return generator.GeneratorStage(networks, process, options, seed, mesh)


def total_steps(experiment: Experiment, name: str) -> int:
    """How many steps a stage trains: none where the codec is a pretrained one."""
    options = getattr(experiment, name)
    return options.total_steps if name == codec.NAME else options.steps


class AbstractStage(NamedTuple):
    """A stage's programs, each from its first step on, and their three arguments as shapes."""

    name: str
    total_steps: int
    batch_size: int
    programs: tuple[tuple[int, StepFunction], ...]
    state: TrainState
    frozen: Any
    batch: dict[str, jax.ShapeDtypeStruct]


def abstract_stage(experiment: Experiment, name: str, mesh: Mesh | AbstractMesh) -> AbstractStage:
    """The stage of that name as it would run on `mesh`, without data, weights or checkpoints."""
    networks, stage = experiment.networks, build_stage(experiment, name, mesh)
    if name == codec.NAME:
        has_lpips = experiment.codec.perceptual_weight != 0
        frozen = lpips.shapes(codec.PERCEPTUAL_BACKBONE) if has_lpips else None
    elif name == autoencoder.NAME:
        frozen = networks.shapes(codec.AVERAGED)
    else:
        scale = constant_shapes(networks, autoencoder.NAME)["latent_scale"]
        frozen = FrameModel(networks.shapes((*codec.AVERAGED, *AUTOENCODER)), scale)
    return AbstractStage(
        name=name,
        total_steps=total_steps(experiment, name),
        batch_size=getattr(experiment, name).batch_size,
        programs=stage.programs(),
        state=jax.eval_shape(stage.create, constant_shapes(networks, name)),
        frozen=frozen,
        batch=batch_shapes(experiment, name),
    )
