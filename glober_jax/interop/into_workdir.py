"""What every conversion into a workdir does: check it, match names, write a stage, say so."""

from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import jax.numpy as jnp
import numpy as np
from etils import epath

from glober_jax.errors import UserError
from glober_jax.experiment.options import Experiment
from glober_jax.experiment.stages import build_stage
from glober_jax.interop.network import Naming, Part, match_networks
from glober_jax.interop.stored_tensor import StoredTensor
from glober_jax.models.networks import Networks, Params
from glober_jax.parallel.mesh import MeshShape, make_mesh
from glober_jax.training.checkpoint import StageCheckpoints, newest_step
from glober_jax.training.restore import write_config

TRAIN = "python -m glober_jax.main, the same --config and --workdir"


def check_untrained(workdir: epath.Path, *stages: str) -> None:
    """Refuses a workdir in which one of these stages has begun."""
    for stage in stages:
        if (step := newest_step(workdir, stage)) is not None:
            raise UserError(
                f"{workdir} already holds the {stage} stage, at step {step}; "
                "choose another --workdir"
            )


def check_architecture(experiment: Experiment, workdir: epath.Path, *stages: str) -> None:
    """Refuses a workdir in which one of these stages was trained with another architecture."""
    for stage in stages:
        if newest_step(workdir, stage) is not None:
            with StageCheckpoints(workdir, stage, experiment.source):
                pass  # Opening looks.


def check_fields(networks: Networks, name: str, whose: str, **published: int) -> None:
    """Refuses values that shapes do not show, so that a file would be misread in silence."""
    network = getattr(networks, name)
    for key, value in published.items():
        if (here := getattr(network, key, value)) != value:
            raise UserError(
                f"config.model.{name}.{key} is {here}, but {whose} is {value}, and the file does "
                f"not tell; set it to {value}"
            )


def match(
    networks: Networks,
    tensors: Mapping[str, StoredTensor],
    namings: Mapping[str, Naming],
    *,
    where: str,
    advice: str,
) -> dict[str, dict[str, StoredTensor]]:
    """The parameters of the networks of `namings`, by path, unread.

    Raises:
      UserError: `where` and `advice` are put around what does not fit.
    """
    shapes = networks.shapes(tuple(namings))
    parts = {name: Part(shapes[name], naming) for name, naming in namings.items()}
    try:
        return match_networks(tensors, parts)
    except UserError as error:
        raise UserError(f"{where}: {error}; {advice}") from error


def read(arrays: Mapping[str, StoredTensor]) -> Params:
    """A network's parameters; each array is read, and forgotten by NumPy, before the next one."""
    flat = {path: jnp.asarray(np.asarray(array)) for path, array in arrays.items()}
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def write_finished(
    experiment: Experiment,
    workdir: epath.Path,
    name: str,
    params: Params,
    constants: dict[str, Any],
) -> str:
    """Writes a stage as finished with these networks, and the config; returns what it did.

    Networks of the stage that are not among `params` are fresh ones, as is its optimizer.
    """
    # Checkpoints can be restored on any mesh: the config's may be of another machine.
    stage = build_stage(experiment, name, make_mesh(MeshShape()))
    options, state = getattr(experiment, name), stage.create(constants, params)
    with StageCheckpoints(workdir, name, experiment.source) as checkpoints:
        checkpoints.save(options.steps, state.replace(step=jnp.asarray(options.steps, jnp.int32)))
    write_config(workdir, experiment.source)
    return f"written to {workdir}/{name} as a stage that is finished at step {options.steps}"


def described(name: str, arrays: Mapping[str, StoredTensor], naming: Naming) -> str:
    """One line on what a network was made from."""
    count = sum(int(np.prod(array.shape)) for array in arrays.values())
    return f"{name}: {len(arrays)} tensors, {count:,} parameters, named as in {naming.title}"
