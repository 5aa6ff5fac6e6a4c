"""Plans a training run ahead of time, without the target chips: memory, operations, time.

    python -m glober_jax.plan --config=configs/skytimelapse.py --topology=v5e:4x4

compiles the training steps for the slice, on this machine and without data, and prints for each
chip the memory and whether that fits, operations, collectives, and an estimate of the time with its
assumptions. Compiling for TPUs needs libtpu, but no TPU:

    pip install -r requirements-plan.txt

--stage=sampling plans making --num_videos videos of --num_frames frames instead, and prints the
share of the operations that is not padding.

--where also prints the compiler's cycles of each kind of operation and each module, beside those of
the matrix products alone.

A slice is a generation and a shape, or an accelerator type: v5e:4x4, v4:2x2x4, v5p:4x4x4,
v6e:16x16, v5litepod-16, v4-32. --topology=local compiles for the devices of this machine.

Exit status: 1 where a stage does not fit, where no case of a --sweep fits, or for a mistake in the
command; else 0, also where nothing could be compiled and so whether it fits is not known.
"""

import sys
from collections.abc import Sequence

from absl import flags
from etils import epath
from ml_collections import config_flags

from glober_jax import cli
from glober_jax.errors import UserError
from glober_jax.experiment import config
from glober_jax.experiment.options import Experiment
from glober_jax.experiment.stages import STAGES
from glober_jax.planning import plan_table, sweep, topology
from glober_jax.planning.stage_plan import SAMPLING, plan_stages, write_plan

_CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment, e.g. configs/quickstart.py")
_TOPOLOGY = flags.DEFINE_string("topology", None, "Slice to plan for, such as v5e:4x4, or local")
_SLICES = flags.DEFINE_integer("slices", 1, "How many such slices train together")
_STAGE = flags.DEFINE_enum(
    "stage", "all", ["all", *STAGES, SAMPLING], "Which stage to plan; all are those of training"
)
_NUM_VIDEOS = flags.DEFINE_integer("num_videos", 1, "Videos, for --stage=sampling", 1)
_NUM_FRAMES = flags.DEFINE_integer("num_frames", 16, "Frames of each of these videos", 1)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file for the plan")
_EFFORT = flags.DEFINE_float(
    "effort",
    0.0,
    "How hard XLA tries, for TPUs: 0 as in training; -1 compiles in a third of the time a program "
    "that needs more memory",
    -1.0,
    1.0,
)
_WHERE = flags.DEFINE_boolean(
    "where", False, "Show where a step's cycles go, by the TPU compiler's estimate"
)
_SWEEP = flags.DEFINE_boolean(
    "sweep", False, "Find the largest batch that fits; needs --stage and --output"
)
_SWEEP_FSDP = flags.DEFINE_list("sweep_fsdp", None, "Values of config.mesh.fsdp that a sweep tries")
_SWEEP_REMAT = flags.DEFINE_list("sweep_remat", ["blocks"], "Values of remat that a sweep tries")
flags.mark_flags_as_required(["config", "topology"])


def main(argv: Sequence[str]) -> None:
    cli.no_arguments(argv)
    experiment = config.parse(cli.config_value(_CONFIG))
    if _TOPOLOGY.value != topology.LOCAL:
        topology.compile_only()
    where = topology.parse_topology(_TOPOLOGY.value, _SLICES.value)
    if _SWEEP.value:
        _sweep(experiment, where)
        return
    stages = STAGES if _STAGE.value == "all" else (_STAGE.value,)
    sampled = _NUM_VIDEOS.value, _NUM_FRAMES.value
    for plan in plan_stages(experiment, stages, where, _EFFORT.value, *sampled):
        planned = plan["stages"]
        head = plan_table.head_table(plan)
        print(f"\n{plan_table.stage_table(planned[-1])}" if planned else head, flush=True)
        if planned and _WHERE.value:
            print(f"\n{plan_table.cycles_table(planned[-1])}", flush=True)
        # After each stage, because the next may take an hour to compile.
        if _OUTPUT.value:
            write_plan(epath.Path(_OUTPUT.value), plan)
    if any(program["seconds"] for stage in planned for program in stage["programs"]):
        print(f"\n{plan_table.assumptions_table(plan)}")
    sys.exit(1 if plan["fits"] is False else 0)


def _sweep(experiment: Experiment, where: topology.Topology) -> None:
    if _STAGE.value not in STAGES or not _OUTPUT.value:
        raise UserError("--sweep needs --stage, for one of training, and --output=FILE.json")
    fsdp = cli.list_of(int, _SWEEP_FSDP) if _SWEEP_FSDP.value else [experiment.mesh.fsdp]
    remat, output = _SWEEP_REMAT.value, epath.Path(_OUTPUT.value)
    found = sweep.sweep(experiment, _STAGE.value, where, _EFFORT.value, fsdp, remat, output)
    print(plan_table.sweep_table(found))
    sys.exit(0 if found["best"] else 1)


if __name__ == "__main__":
    cli.run(main)
