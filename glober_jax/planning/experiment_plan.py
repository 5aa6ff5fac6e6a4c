"""The plan of an experiment on a slice: what `glober_jax.plan` prints and writes."""

import json
from collections.abc import Iterator
from typing import Any

import jax
from etils import epath
from jax.sharding import AbstractMesh, AxisType, Mesh

from glober_jax import media
from glober_jax.experiment import Experiment
from glober_jax.parallel.mesh import AXES, make_mesh, mesh_sizes
from glober_jax.planning.estimate import ASSUMPTIONS
from glober_jax.planning.stages import plan_stage
from glober_jax.planning.topology import INSTALL, LOCAL, Topology, libtpu_version
from glober_jax.training.stage_data import check_stage_batch


def plan_stages(
    experiment: Experiment, stages: tuple[str, ...], topology: Topology, effort: float
) -> Iterator[dict[str, Any]]:
    """The plan, JSON-able: first without any stage, then anew after each.

    Raises:
      UserError: the mesh does not cover the chips, or a batch does not divide over it.
    """
    mesh, reason = plan_mesh(experiment, topology)
    for name in stages:
        check_stage_batch(experiment, name, mesh)
    plan = {**_described(topology, mesh, effort), "reason": reason, "fits": None, "stages": []}
    plan["config"] = experiment.source
    yield plan
    for name in stages:
        plan["stages"].append(plan_stage(experiment, name, topology, mesh, effort))
        verdicts = [stage["fits"] for stage in plan["stages"]]
        plan["fits"] = False if False in verdicts else None if None in verdicts else True
        yield plan


def plan_mesh(experiment: Experiment, topology: Topology) -> tuple[Mesh | AbstractMesh, str | None]:
    """The config's mesh over a slice; abstract, with the reason, where there is no compiler."""
    if topology.name == LOCAL or libtpu_version() is not None:
        return make_mesh(experiment.mesh, topology.devices()), None
    sizes = mesh_sizes(experiment.mesh, topology.chips)
    mesh = AbstractMesh(sizes, AXES, axis_types=(AxisType.Auto,) * 3)
    return mesh, (
        "libtpu is not installed, so nothing was compiled: memory of temporaries, collectives and "
        f"times are missing ({INSTALL})"
    )


def _described(topology: Topology, mesh: Mesh | AbstractMesh, effort: float) -> dict[str, Any]:
    """What a plan is for, and by what it was made."""
    chip = topology.chip
    return {
        "topology": {
            "name": topology.name,
            "shape": list(topology.shape),
            "slices": topology.slices,
            "chips": topology.chips,
            "chip": chip.name if chip else jax.devices()[0].device_kind,
        },
        "mesh": dict(mesh.shape),
        "effort": effort,
        "versions": {"jax": jax.__version__, "libtpu": libtpu_version()},
        "assumptions": list(ASSUMPTIONS),
        "sources": list(chip.sources) if chip else [],
    }


def write_plan(path: epath.Path, plan: dict[str, Any]) -> None:
    """Writes a plan whole or not at all."""
    media.write_file(path, json.dumps(plan, indent=2).encode())
