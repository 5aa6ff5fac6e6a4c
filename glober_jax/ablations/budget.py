"""The steps of each stage for a budget of training operations.

Operations are those of a stage's traced training step (`planning.flops`), with gradients and frozen
networks. `AUTOENCODER_SHARE` of the budget is the autoencoder's, the rest the generator's; the
plain video model has one stage. The codec, equal in all rows, is not counted.
"""

from typing import Any

from jax.sharding import AbstractMesh, AxisType

from glober_jax.ablations import plain_video
from glober_jax.errors import UserError
from glober_jax.experiment.options import Experiment
from glober_jax.experiment.stages import AbstractStage, abstract_stage
from glober_jax.parallel.mesh import AXES
from glober_jax.planning.compiling import trace_program
from glober_jax.planning.flops import count_flops
from glober_jax.training import autoencoder, generator

AUTOENCODER_SHARE = 1 / 3
_SHARES = {
    autoencoder.NAME: AUTOENCODER_SHARE,
    generator.NAME: 1.0 - AUTOENCODER_SHARE,
    plain_video.NAME: 1.0,
}


def flops_per_step(experiment: Experiment, plain: bool) -> dict[str, float]:
    """The mean over the config's steps by stage; steps with the discriminator cost more."""
    mesh = AbstractMesh((1, 1, 1), AXES, axis_types=(AxisType.Auto,) * 3)
    if plain:
        stages = [plain_video.abstract_plain_video(experiment, mesh)]
    else:
        names = (autoencoder.NAME, generator.NAME)
        stages = [abstract_stage(experiment, name, mesh) for name in names]
    return {stage.name: mean_flops(stage, mesh) for stage in stages}


def steps_for(flops_by_stage: dict[str, float], flops: float) -> dict[str, int]:
    """Steps of each stage that together take `flops`; `UserError` for less than one of each."""
    steps = {name: round(_SHARES[name] * flops / one) for name, one in flops_by_stage.items()}
    if min(steps.values()) < 1:
        least = max(one / _SHARES[name] for name, one in flops_by_stage.items())
        raise UserError(
            f"--flops={flops:g} is less than a step of every stage takes: give {least:g} or more"
        )
    return steps


def with_steps(config: dict[str, Any], steps: dict[str, int]) -> dict[str, int]:
    """Changes of the config by key; the plain video model takes the autoencoder's steps.

    The adversarial loss starts and warms up at the same fractions of the steps as before.
    """
    changes = {}
    for name, count in steps.items():
        section = autoencoder.NAME if name == plain_video.NAME else name
        changes[f"{section}.steps"] = count
        if section == autoencoder.NAME:
            before, adversarial = config[section]["steps"], config[section]["adversarial"]
            for key in ("start_step", "warmup_steps"):
                changes[f"{section}.adversarial.{key}"] = round(adversarial[key] * count / before)
    return changes


def mean_flops(stage: AbstractStage, mesh: AbstractMesh) -> float:
    ends = [first for first, _ in stage.programs[1:]] + [stage.total_steps]
    total = 0
    for (first, program), end in zip(stage.programs, ends, strict=True):
        flops = count_flops(trace_program(stage, program, mesh))
        total += (min(end, stage.total_steps) - first) * flops
    return total / stage.total_steps
