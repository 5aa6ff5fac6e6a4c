"""The plan of an experiment on a slice, as JSON-able values: its stages, or sampling."""

import functools
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from etils import epath
from jax.sharding import AbstractMesh, AxisType

from glober_jax import media
from glober_jax.errors import UserError
from glober_jax.experiment.options import Experiment
from glober_jax.experiment.stages import abstract_stage, check_stage_batch
from glober_jax.models.networks import count_parameters
from glober_jax.parallel.mesh import AXES, batch_sharding, batch_ways, make_mesh, mesh_sizes
from glober_jax.parallel.rules import tree_shardings
from glober_jax.planning.compiling import trace_program
from glober_jax.planning.program_plan import ASSUMPTIONS, AnyMesh, all_fit, plan_program
from glober_jax.planning.sampling_programs import abstract_models, sampling_programs
from glober_jax.planning.topology import INSTALL, LOCAL, Topology, libtpu_version
from glober_jax.training import autoencoder, codec, generator

SAMPLING = "sampling"


def plan_stages(
    experiment: Experiment,
    stages: Sequence[str],
    topology: Topology,
    effort: float,
    videos: int,
    frames: int,
) -> Iterator[dict[str, Any]]:
    """The plan, JSON-able: first without any stage, then again after each.

    `SAMPLING` is planned as a stage, of `videos` of `frames` each.

    Raises:
      UserError: the mesh does not cover the chips, or a batch does not divide over it.
    """
    mesh, reason = plan_mesh(experiment, topology)
    for name in stages:
        if name != SAMPLING:
            check_stage_batch(experiment, name, mesh)
    chip = topology.chip
    plan: dict[str, Any] = {
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
        "reason": reason,
        "fits": None,
        "stages": [],
        "config": experiment.source,
    }
    yield plan
    for name in stages:
        if name == SAMPLING:
            planned = plan_sampling(experiment, topology, mesh, effort, videos, frames)
        else:
            planned = plan_stage(experiment, name, topology, mesh, effort)
        plan["stages"].append(planned)
        plan["fits"] = all_fit(plan["stages"])
        yield plan


def plan_mesh(experiment: Experiment, topology: Topology) -> tuple[AnyMesh, str | None]:
    """The config's mesh over a slice; abstract, with the reason, where there is no compiler."""
    if topology.name == LOCAL or libtpu_version() is not None:
        return make_mesh(experiment.mesh, topology.devices()), None
    sizes = mesh_sizes(experiment.mesh, topology.chips)
    return AbstractMesh(sizes, AXES, axis_types=(AxisType.Auto,) * 3), (
        "libtpu is not installed, so nothing was compiled: memory of temporaries, collectives and "
        f"times are missing ({INSTALL})"
    )


def write_plan(path: epath.Path, plan: dict[str, Any]) -> None:
    """Writes a plan whole or not at all."""
    media.write_file(path, json.dumps(plan, indent=2).encode())


def plan_stage(
    experiment: Experiment,
    name: str,
    topology: Topology,
    mesh: AnyMesh,
    effort: float,
    only_last: bool = False,
) -> dict[str, Any]:
    """The needs of a stage on each chip of `mesh`; without the compiler where that is abstract.

    `only_last` leaves out all programs but the last, which with an adversary is the largest.
    """
    stage = abstract_stage(experiment, name, mesh)
    starts, programs = zip(*stage.programs, strict=True)
    ends = [min(end, stage.total_steps) for end in (*starts[1:], stage.total_steps)]
    in_force = [each for each in zip(starts, ends, programs, strict=True) if each[0] < each[1]]
    arguments = stage.state, stage.frozen, stage.batch
    batch = jax.tree.map(lambda leaf: batch_sharding(mesh), stage.batch)
    shardings = *tree_shardings(arguments[:2], mesh), batch
    state, frozen, batch = held = jax.tree.map(_bytes_on_chip, arguments, shardings)
    planned = []
    for first, end, program in in_force[-1:] if only_last else in_force:
        needs = plan_program(
            functools.partial(trace_program, stage, program, mesh),
            held,
            stage.batch_size,
            experiment.source["dtype"],
            topology,
            mesh,
            effort,
            title=f"{name}, steps {first}-{end}",
        )
        planned.append({"first_step": first, "steps": end - first, **needs})
    seconds = None
    if all(program["seconds"] for program in planned):
        seconds = sum(program["steps"] * program["seconds"]["step"] for program in planned)
    parts = {
        "parameters": state.params,
        "average": state.ema,
        "optimizer": state.opt_state,
        "frozen": frozen,
        "batch": batch,
    }
    return {
        "stage": name,
        "steps": stage.total_steps,
        "batch_size": stage.batch_size,
        "micro_batches": getattr(experiment, name).micro_batches,
        "batch_per_chip": stage.batch_size / topology.chips,
        "parameters": count_parameters(stage.state.params),
        "bytes_per_chip": {part: sum(jax.tree.leaves(tree)) for part, tree in parts.items()},
        "programs": planned,
        "notes": _notes(experiment, name, mesh),
        "fits": all_fit(planned),
        "days": None if seconds is None else seconds / 86400,
        "chip_hours": None if seconds is None else seconds / 3600 * topology.chips,
    }


def plan_sampling(
    experiment: Experiment,
    topology: Topology,
    mesh: AnyMesh,
    effort: float,
    videos: int,
    frames: int,
) -> dict[str, Any]:
    """The needs of making these videos on each chip, and the useful share of the operations.

    Raises:
      UserError: there is no compiler for the slice.
    """
    if isinstance(mesh, AbstractMesh):
        raise UserError(f"--stage={SAMPLING} needs libtpu ({INSTALL})")
    models = abstract_models(experiment.networks)
    shardings = tree_shardings(models, mesh)
    sizes = jax.tree.map(_bytes_on_chip, models, shardings)
    models = jax.tree.map(lambda leaf, place: leaf.update(sharding=place), models, shardings)
    held = dict(zip(("decoder", "generator"), sizes, strict=True))
    planned = []
    for name, program in sampling_programs(experiment, models, mesh, videos, frames).items():
        needs = plan_program(
            program.trace,
            held[name],
            videos / program.runs,
            experiment.source["dtype"],
            topology,
            mesh,
            effort,
            title=f"{SAMPLING}, {name}",
        )
        useful = program.least_flops / (needs["flops"] * program.runs)
        planned.append({"program": name, "runs": program.runs, "useful": useful, **needs})
    frame_model, feature_model = models
    return {
        "stage": SAMPLING,
        "videos": videos,
        "frames": frames,
        "parameters": count_parameters(frame_model.params | feature_model.params),
        "bytes_per_chip": {name: sum(jax.tree.leaves(tree)) for name, tree in held.items()},
        "programs": planned,
        "notes": [],
        "fits": all_fit(planned),
        "days": None,
    }


def _bytes_on_chip(leaf: Any, sharding: jax.sharding.Sharding) -> int:
    """Bytes that an array takes on every device of its mesh."""
    return math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize


def _notes(experiment: Experiment, name: str, mesh: AnyMesh) -> list[str]:
    """Causes of uneven work on the chips, which make the estimate too short."""
    options, clip = getattr(experiment, name), experiment.clip
    clips, ways = options.batch_size, batch_ways(mesh)
    part, pixels = clips // options.micro_batches, not experiment.data.cache_latents
    # Frames that the codec maps in one call.
    frames = {}
    if name == codec.NAME:
        frames["maps frames"] = part * options.frames_per_clip
    if name == generator.NAME and pixels:
        frames["encodes key frames"] = part * clip.num_key_frames
    if name == autoencoder.NAME and pixels:
        frames["encodes key frames"] = clips * clip.num_key_frames
        frames["encodes target frames"] = clips * clip.num_target_frames
    if name == autoencoder.NAME and options.adversarial.weight:
        # First and last target of every judged clip, real and decoded.
        frames["decodes frames"] = 4 * math.ceil(part / options.adversarial.clip_stride)
    return [
        f"the frame codec {what} {size} at a time, which do not spread evenly over {ways} devices; "
        f"make config.model.frame_codec.chunk_frames a multiple of {ways} that divides {count}"
        for what, count in frames.items()
        if (size := experiment.networks.frame_codec.chunk_size(count)) % ways
    ]
