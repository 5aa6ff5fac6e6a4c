r"""Compares GLOBER with its parts changed or left out, at equal training operations.

    python -m glober_jax.ablate --output=runs/ablations
    python -m glober_jax.ablate --output=runs/ablations --rows=ours,plain_video --seeds=1

Every row of configs/ablations.py is trained with every seed in OUTPUT/ROW/SEED and evaluated;
finished runs are kept and interrupted ones resumed. After each run the table of all runs in OUTPUT
is written to --results as Markdown, and beside it as JSON. launch/ablations.sh also makes the data
and the environment. Needs the packages of requirements-eval.txt.
"""

import json
import runpy
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import flags

from glober_jax import cli, media
from glober_jax.ablations import runs, table
from glober_jax.errors import UserError

# Of one run: minutes of one CPU core, and of one GPU.
_FLOPS = {"32": 1e13, "64": 2e15}

_OUTPUT = flags.DEFINE_string("output", "runs/ablations", "Folder of the runs")
_ROWS = flags.DEFINE_list("rows", [], "Names of rows; all by default")
_SEEDS = flags.DEFINE_integer("seeds", 3, "Seeds of each row", lower_bound=1)
_SIZE = flags.DEFINE_enum("size", "32", list(_FLOPS), "Of frames, in pixels")
_BUDGET = flags.DEFINE_float(
    "flops", None, "Training operations of each run; depends on --size by default", lower_bound=1
)
_RESULTS = flags.DEFINE_string("results", "docs/results.md", "The table; its JSON lies beside it")
_CONFIG = flags.DEFINE_string("config", "configs/ablations.py", "File with the rows")
_DATA = flags.DEFINE_string("data", "", "Prepared data set; the config's by default")
_CLIPS = flags.DEFINE_integer("clips", 64, "Clips to generate and compare", lower_bound=8)


def main(argv: Sequence[str]) -> None:
    """Runs the command with its positional arguments."""
    cli.no_arguments(argv)
    # Leaves the accelerator to the commands that this one starts.
    jax.config.update("jax_platforms", "cpu")
    try:
        module = runpy.run_path(_CONFIG.value)
    except OSError as error:
        raise UserError(f"cannot load --config={_CONFIG.value}: {error.strerror}") from error
    if "ROWS" not in module:
        raise UserError(f"--config={_CONFIG.value} has no ROWS, as configs/ablations.py has")
    ablation = runs.Ablation(
        config_file=_CONFIG.value,
        module=module,
        output=Path(_OUTPUT.value),
        size=int(_SIZE.value),
        flops=_BUDGET.value or _FLOPS[_SIZE.value],
        clips=_CLIPS.value,
        data=_DATA.value,
    )
    rows = _ROWS.value or list(module["ROWS"])
    if unknown := [row for row in rows if row not in module["ROWS"]]:
        raise UserError(f"--rows={unknown[0]}: there are {', '.join(module['ROWS'])}")
    seeds, results = range(_SEEDS.value), Path(_RESULTS.value)

    def write() -> None:
        found = table.summary(ablation, seeds)
        found["command"] = cli.command_line("ablate")
        beside = results.with_suffix(".json")
        media.write_file(beside, f"{json.dumps(found, indent=2, ensure_ascii=False)}\n".encode())
        text = table.markdown(found, beside.name)
        media.write_file(results, text.encode())

    runs.run_all(ablation, rows, seeds, write, runs.execute)
    print(f"results: {results}")


if __name__ == "__main__":
    cli.run(main, "run the same command again to go on")
