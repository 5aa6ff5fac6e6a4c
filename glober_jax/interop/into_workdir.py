"""What every conversion into a workdir does: look before, match names, write a stage, say so."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from glober_jax.errors import UserError
from glober_jax.experiment import Experiment
from glober_jax.interop.network import Naming, Part, choose_naming, match_networks
from glober_jax.interop.stored_tensor import StoredTensor
from glober_jax.models.networks import Networks, Params
from glober_jax.parallel.mesh import MeshShape, make_mesh
from glober_jax.training.checkpoint import StageCheckpoints, newest_step
from glober_jax.training.restore import write_config
from glober_jax.training.stages import build_stage

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


def match(
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
    """One line for people on what a network was made from."""
    count = sum(int(np.prod(array.shape)) for array in arrays.values())
    return f"{name}: {len(arrays)} tensors, {count:,} parameters, named as in {naming.title}"
