"""Steps of every conversion into a workdir: check it, match names, write and describe a stage."""

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
from glober_jax.interop.weights_file import StoredTensor
from glober_jax.models.networks import Networks, Params
from glober_jax.parallel.mesh import MeshShape, make_mesh
from glober_jax.training.checkpoint import StageCheckpoints, newest_step
from glober_jax.training.restore import write_config

TRAIN = "python -m glober_jax.main, the same --config and --workdir"


def check_untrained(workdir: epath.Path, *stages: str) -> None:
    """Raises `UserError` where one of these stages has begun."""
    for stage in stages:
        if (step := newest_step(workdir, stage)) is not None:
            raise UserError(
                f"{workdir} already holds the {stage} stage, at step {step}; "
                "choose another --workdir"
            )


def check_architecture(experiment: Experiment, workdir: epath.Path, *stages: str) -> None:
    """Raises `UserError` where one of these stages was trained with another architecture."""
    for stage in stages:
        if newest_step(workdir, stage) is not None:
            with StageCheckpoints(workdir, stage, experiment.source):
                pass  # Opening compares.


def check_fields(networks: Networks, name: str, whose: str, **published: int) -> None:
    """Raises `UserError` for config values other than the published ones; no shape shows them."""
    network = getattr(networks, name)
    for key, value in published.items():
        if (here := getattr(network, key, value)) != value:
            raise UserError(
                f"config.model.{name}.{key} is {here}, but {whose} is {value}; set it to {value}"
            )


def match(
    networks: Networks,
    tensors: Mapping[str, StoredTensor],
    namings: Mapping[str, Naming],
    *,
    where: str,
    advice: str,
) -> tuple[dict[str, dict[str, StoredTensor]], list[str]]:
    """`match_networks` by `namings`, and a line on the source of each network.

    `where` and `advice` go around the message of its error.
    """
    shapes = networks.shapes(tuple(namings))
    parts = {name: Part(shapes[name], naming) for name, naming in namings.items()}
    try:
        matched = match_networks(tensors, parts)
    except UserError as error:
        raise UserError(f"{where}: {error}; {advice}") from error
    lines = []
    for name, arrays in matched.items():
        count = sum(int(np.prod(array.shape)) for array in arrays.values())
        title = namings[name].title
        lines.append(f"{name}: {len(arrays)} tensors, {count:,} parameters, named as in {title}")
    return matched, lines


def read(arrays: Mapping[str, StoredTensor]) -> Params:
    """A network's parameters; only one array at a time is held by NumPy."""
    flat = {path: jnp.asarray(np.asarray(array)) for path, array in arrays.items()}
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def write_finished(
    experiment: Experiment,
    workdir: epath.Path,
    name: str,
    arrays: Mapping[str, Mapping[str, StoredTensor]],
    constants: dict[str, Any],
) -> str:
    """Writes a finished stage with these networks, and the config; returns a message.

    Other networks of the stage, and its optimizer, have their initial values.
    """
    params = {network: read(found) for network, found in arrays.items()}
    # Not on the config's mesh, which may be another machine's: any mesh can restore a checkpoint.
    stage = build_stage(experiment, name, make_mesh(MeshShape()))
    options, state = getattr(experiment, name), stage.create(constants, params)
    with StageCheckpoints(workdir, name, experiment.source) as checkpoints:
        checkpoints.save(options.steps, state.replace(step=jnp.asarray(options.steps, jnp.int32)))
    write_config(workdir, experiment.source)
    return f"written to {workdir}/{name} as a stage that is finished at step {options.steps}"
