"""One run after the other: each row and seed trained, evaluated and timed in OUTPUT/ROW/SEED.

A run is a few commands, each in a process of its own that goes on from where it was stopped. What
a run was started with is in its plan.json; when it is finished there are result.json and
seconds.json as well, and it is not run again.
"""

import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from glober_jax import config, media
from glober_jax.ablations import budget, plain_video
from glober_jax.ablations.time_sampling import SECONDS_FILE
from glober_jax.errors import UserError
from glober_jax.progress import Progress

PLAN_FILE, RESULT_FILE = "plan.json", "result.json"
Execute = Callable[[Sequence[str]], None]


@dataclasses.dataclass(frozen=True)
class Ablation:
    """What is compared: rows of a config file at one size, by what protocol, at what expense.

    Attributes:
      config_file: has `ROWS`, `get_config("ROW,SIZE")` and `PLAIN_VIDEO`, as configs/ablations.py.
      module: its names.
      output: the folder of the runs.
      size: of frames, in pixels.
      flops: that the training of every run spends.
      clips: that are generated and compared.
      data: a prepared data set; the config's where it is empty.
    """

    config_file: str
    module: Mapping[str, Any]
    output: Path
    size: int
    flops: float
    clips: int = 64
    data: str = ""

    def config(self, row: str) -> dict[str, Any]:
        """The row's config, as plain values."""
        return self.module["get_config"](f"{row},{self.size}").to_dict()

    def is_plain(self, row: str) -> bool:
        return row == self.module["PLAIN_VIDEO"]


class Run(NamedTuple):
    """One row with one seed; `plan` is all that decides what is trained, as JSON."""

    row: str
    seed: int
    folder: Path
    plan: dict[str, Any]

    @property
    def finished(self) -> bool:
        return all((self.folder / name).exists() for name in (RESULT_FILE, SECONDS_FILE))


def run_all(
    ablation: Ablation,
    rows: Sequence[str],
    seeds: Sequence[int],
    after_each: Callable[[], None],
    execute: Execute,
) -> None:
    """Makes every run that is not finished: all rows with one seed, then with the next.

    `after_each()` is called once before, and again after each run.

    Raises:
      UserError: a command failed, or a run was begun with other settings.
    """
    # The rows of a table are complete sooner than their spread.
    planned = [(row, seed) for seed in seeds for row in rows]
    steps = {row: _planned_steps(ablation, row) for row in rows}
    runs = [_planned_run(ablation, row, seed, steps[row]) for row, seed in planned]
    missing = [run for run in runs if not run.finished]
    with Progress("ablations", len(runs), len(runs) - len(missing), unit="run") as progress:
        after_each()
        progress.update(len(runs) - len(missing))
        for run in missing:
            progress.note(f"begins {run.row}, seed {run.seed}, in {run.folder}")
            media.write_file(run.folder / PLAN_FILE, json.dumps(run.plan, indent=2).encode())
            for command in commands(ablation, run):
                execute(command)
            after_each()
            progress.advance()


def commands(ablation: Ablation, run: Run) -> Iterator[list[str]]:
    """The commands of a run, as lists of words after `python -m`."""
    folder, plain = str(run.folder), ablation.is_plain(run.row)
    changes = {"seed": run.seed, **run.plan["changes"]}
    train = [f"--config={ablation.config_file}:{run.row},{ablation.size}", f"--workdir={folder}"]
    train += [f"--config.{key}={value}" for key, value in changes.items()]
    if ablation.data:
        train.append(f"--config.data.dir={ablation.data}")
    # Real clips are measured once for all.
    evaluate = ["glober_jax.evaluate", f"--protocol=small@{ablation.clips}"]
    evaluate.append(f"--cache={ablation.output / 'measures'}")
    if plain:
        yield ["glober_jax.ablations.train_plain_video", *train, f"--clips={ablation.clips}"]
        real = ablation.data or ablation.config(run.row)["data"]["dir"]
        made = run.folder / plain_video.CLIPS_FILE
        evaluate += [f"--real={real}", f"--generated={made}"]
    else:
        yield ["glober_jax.main", *train]
        yield ["glober_jax.ablations.time_sampling", f"--workdir={folder}"]
        evaluate += [f"--workdir={folder}", "--reconstruction", f"--seed={run.seed}"]
    yield [*evaluate, f"--output={run.folder / RESULT_FILE}"]


def execute(arguments: Sequence[str]) -> None:
    """Runs `python -m ARGUMENTS`; SIGTERM and Ctrl-C reach it, and it may save before it ends.

    Raises:
      UserError: it failed.
    """
    process = subprocess.Popen([sys.executable, "-m", *arguments], stdout=sys.stderr)
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        status = process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
        signal.signal(signal.SIGTERM, previous)
    if status:
        raise UserError(
            f"python -m {arguments[0]} ended with status {status}, see above; the same command "
            "goes on from there"
        )


def _planned_run(ablation: Ablation, row: str, seed: int, steps: dict[str, Any]) -> Run:
    folder = ablation.output / row / str(seed)
    # As JSON gives it back.
    plan = json.loads(json.dumps(_plan(ablation, row, steps)))
    begun = _read(folder / PLAN_FILE)
    if begun is not None and begun != plan:
        differing = [key for key in plan if begun.get(key) != plan[key]]
        raise UserError(
            f"{folder} was begun with other settings ({', '.join(differing)}): give those, another "
            "--output, or move that folder away"
        )
    return Run(row, seed, folder, plan)


def _plan(ablation: Ablation, row: str, counted: dict[str, Any]) -> dict[str, Any]:
    source = ablation.config(row)
    return {
        "flops": ablation.flops,
        "clips": ablation.clips,
        "flops_per_step": counted,
        "steps": (steps := budget.steps_for(counted, ablation.flops)),
        "changes": budget.with_steps(source, steps),
        "config": source,
    }


def _planned_steps(ablation: Ablation, row: str) -> dict[str, float]:
    """Operations of one step by stage; counting takes a minute and is kept in OUTPUT/ROW."""
    source = json.loads(json.dumps(ablation.config(row)))
    file = ablation.output / row / "flops_per_step.json"
    kept = _read(file)
    if kept is None or kept["config"] != source:
        experiment = config.parse(ablation.config(row))
        print(f"{row}: counting operations", file=sys.stderr, flush=True)
        counted = budget.flops_per_step(experiment, ablation.is_plain(row))
        kept = {"flops_per_step": counted, "config": source}
        media.write_file(file, json.dumps(kept, indent=2).encode())
    return kept["flops_per_step"]


def _read(file: Path) -> Any:
    return json.loads(file.read_text()) if file.exists() else None
