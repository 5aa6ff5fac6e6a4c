"""The stages of an experiment without data or parameters: what their programs look like.

Every array is abstract (`jax.ShapeDtypeStruct`), so nothing is computed and no checkpoint, data
set or package of weights has to be there. `pipeline.py` builds the same stages to be run.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import AbstractMesh, Mesh

from glober_jax.experiment import Experiment
from glober_jax.models import lpips
from glober_jax.models.networks import AUTOENCODER
from glober_jax.sampling.decode import FrameModel
from glober_jax.training import autoencoder, codec
from glober_jax.training.loop import StepFunction
from glober_jax.training.restore import constant_shapes
from glober_jax.training.stage_data import batch_shapes
from glober_jax.training.stages import build_stage
from glober_jax.training.state import TrainState


class AbstractStage(NamedTuple):
    """A stage's programs, each in force from its first step on, and their three arguments."""

    name: str
    total_steps: int
    batch_size: int
    programs: tuple[tuple[int, StepFunction], ...]
    state: TrainState
    frozen: Any
    batch: dict[str, jax.ShapeDtypeStruct]


def abstract_stage(experiment: Experiment, name: str, mesh: Mesh | AbstractMesh) -> AbstractStage:
    """The stage of that name as it would run on `mesh`."""
    networks, options = experiment.networks, getattr(experiment, name)
    stage = build_stage(experiment, name, mesh)
    if name == codec.NAME:
        has_lpips = options.perceptual_weight != 0
        frozen = lpips.shapes(codec.PERCEPTUAL_BACKBONE) if has_lpips else None
    elif name == autoencoder.NAME:
        frozen = networks.shapes(codec.AVERAGED)
    else:
        scale = constant_shapes(networks, autoencoder.NAME)["latent_scale"]
        frozen = FrameModel(networks.shapes((*codec.AVERAGED, *AUTOENCODER)), scale)
    create: Callable[[dict[str, Any]], TrainState] = stage.create
    return AbstractStage(
        name=name,
        total_steps=options.total_steps if name == codec.NAME else options.steps,
        batch_size=options.batch_size,
        programs=stage.programs(),
        state=jax.eval_shape(create, constant_shapes(networks, name)),
        frozen=frozen,
        batch=batch_shapes(experiment, name),
    )
