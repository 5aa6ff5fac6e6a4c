"""Trains everything a config describes: codec, autoencoder, generator, then a summary.

    python -m glober_jax.main --config=configs/quickstart.py --workdir=runs/quickstart

Each stage resumes from its newest checkpoint in the workdir; finished stages are skipped. SIGTERM
saves and exits with status 0; the same command resumes.

On several hosts run it on every one, with the same flags; all must see --workdir and the data.
TPU slices and SLURM steps are recognised. Elsewhere say how the processes find each other:
--coordinator=HOST:PORT --num_processes=N --process_id=I.

--profile=100:105 traces the steps 100 to 104 of every stage into WORKDIR/logs (docs/profiling.md).
"""

from collections.abc import Sequence

from absl import flags
from etils import epath
from ml_collections import config_flags

from glober_jax import cli
from glober_jax.errors import UserError

_CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment, e.g. configs/quickstart.py")
_WORKDIR = flags.DEFINE_string("workdir", None, "Where checkpoints, logs and samples go")
_STAGE = flags.DEFINE_enum(
    "stage", "all", ["all", "codec", "autoencoder", "generator"], "Which stage to train"
)
_PROFILE = flags.DEFINE_string("profile", "", "FIRST:END, steps to trace for TensorBoard")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, of several")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes train together")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0 on")
flags.mark_flags_as_required(["config", "workdir"])


def main(argv: Sequence[str]) -> None:
    cli.no_arguments(argv)
    profiled = _steps(_PROFILE.value)
    # Worker processes of the data loader import this file too, and need none of these.
    from glober_jax import run
    from glober_jax.experiment import config
    from glober_jax.parallel.multihost import end_together, start_processes

    experiment = config.parse(cli.config_value(_CONFIG))
    start_processes(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    only = None if _STAGE.value == "all" else _STAGE.value
    with end_together():
        run.run(experiment, epath.Path(_WORKDIR.value), only, profiled)


def _steps(text: str) -> range:
    """The steps that `FIRST:END` stands for, without END; none of an empty text."""
    if not text:
        return range(0)
    first, _, end = text.partition(":")
    if not (first.isdecimal() and end.isdecimal() and int(first) < int(end)):
        raise UserError(f"--profile={text} is no FIRST:END of steps, such as 100:105")
    return range(int(first), int(end))


if __name__ == "__main__":
    cli.run(main, "run the same command again to go on")
