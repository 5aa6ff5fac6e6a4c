"""Trains, evaluates and times each row and seed in OUTPUT/ROW/SEED, one after the other.

A run is a few commands, each a resumable process. Its settings are in plan.json; a finished run,
which is not repeated, has result.json and seconds.json too.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glober_jax import media
from glober_jax.ablations import budget, plain_video
from glober_jax.errors import UserError
from glober_jax.experiment import config
from glober_jax.progress import Progress

PLAN_FILE, RESULT_FILE, SECONDS_FILE = "plan.json", "result.json", "seconds.json"
Execute = Callable[[Sequence[str]], None]


@dataclass(frozen=True)
class Ablation:
    """The settings of all runs.

    Attributes:
      config_file: has `ROWS`, `get_config("ROW,SIZE")` and `PLAIN_VIDEO`, as configs/ablations.py.
      module: its names.
      output: the folder of the runs.
      size: of frames, in pixels.
      flops: training operations of a run.
      clips: to generate and compare.
      data: a prepared data set; "" for the config's.
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


def run_all(
    ablation: Ablation,
    rows: Sequence[str],
    seeds: Sequence[int],
    after_each: Callable[[], None],
    execute: Execute,
) -> None:
    """Makes the unfinished runs: all rows with the first seed, then with the next.

    `after_each()` is also called before the first run. Raises `UserError` where a run was begun
    with other settings.
    """
    plans = {row: _plan(ablation, row) for row in rows}
    # Seeds outermost, so that all rows of the table have a value early.
    folders = {(row, seed): ablation.output / row / str(seed) for seed in seeds for row in rows}
    for (row, _), folder in folders.items():
        _check_plan(folder, plans[row])
    missing = [run for run, folder in folders.items() if not _finished(folder)]
    done = len(folders) - len(missing)
    with Progress("ablations", len(folders), done, unit="run") as progress:
        after_each()
        progress.update(done)
        for row, seed in missing:
            folder, plan = folders[row, seed], plans[row]
            progress.note(f"begins {row}, seed {seed}, in {folder}")
            media.write_file(folder / PLAN_FILE, json.dumps(plan, indent=2).encode())
            for command in _commands(ablation, row, seed, folder, plan["changes"]):
                execute(command)
            after_each()
            progress.advance()


def execute(arguments: Sequence[str]) -> None:
    """Runs `python -m ARGUMENTS`, and passes SIGTERM and Ctrl-C on, so that it can save."""
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


def _commands(
    ablation: Ablation, row: str, seed: int, folder: Path, changes: Mapping[str, Any]
) -> Iterator[list[str]]:
    """The commands of a run, as lists of words after `python -m`."""
    train = ["glober_jax.ablations.train_row", f"--workdir={folder}"]
    train.append(f"--config={ablation.config_file}:{row},{ablation.size}")
    train += [f"--config.{key}={value}" for key, value in {"seed": seed, **changes}.items()]
    if ablation.data:
        train.append(f"--config.data.dir={ablation.data}")
    # Real clips are measured once for all runs.
    evaluate = ["glober_jax.evaluate", f"--protocol=small@{ablation.clips}"]
    evaluate.append(f"--cache={ablation.output / 'measures'}")
    if ablation.is_plain(row):
        yield [*train, "--plain_video", f"--clips={ablation.clips}"]
        real = ablation.data or ablation.config(row)["data"]["dir"]
        evaluate += [f"--real={real}", f"--generated={folder / plain_video.CLIPS_FILE}"]
    else:
        yield train
        evaluate += [f"--workdir={folder}", "--reconstruction", f"--seed={seed}"]
    yield [*evaluate, f"--output={folder / RESULT_FILE}"]


def _plan(ablation: Ablation, row: str) -> dict[str, Any]:
    """All that decides the training of a row, as plain JSON values."""
    source = json.loads(json.dumps(ablation.config(row)))
    counted = _flops_per_step(ablation, row, source)
    steps = budget.steps_for(counted, ablation.flops)
    return {
        "flops": ablation.flops,
        "clips": ablation.clips,
        "flops_per_step": counted,
        "steps": steps,
        "changes": budget.with_steps(source, steps),
        "config": source,
    }


def _flops_per_step(ablation: Ablation, row: str, source: dict[str, Any]) -> dict[str, float]:
    """By stage; counting takes a minute and is cached in OUTPUT/ROW."""
    file = ablation.output / row / "flops_per_step.json"
    kept = json.loads(file.read_text()) if file.exists() else {}
    if kept.get("config") != source:
        experiment = config.parse(ablation.config(row))
        print(f"{row}: counting operations", file=sys.stderr, flush=True)
        counted = budget.flops_per_step(experiment, ablation.is_plain(row))
        kept = {"flops_per_step": counted, "config": source}
        media.write_file(file, json.dumps(kept, indent=2).encode())
    return kept["flops_per_step"]


def _check_plan(folder: Path, plan: Mapping[str, Any]) -> None:
    file = folder / PLAN_FILE
    begun = json.loads(file.read_text()) if file.exists() else plan
    if differing := [key for key in plan if begun.get(key) != plan[key]]:
        raise UserError(
            f"{folder} was begun with other settings ({', '.join(differing)}): give those, another "
            "--output, or move that folder away"
        )


def _finished(folder: Path) -> bool:
    return all((folder / name).exists() for name in (RESULT_FILE, SECONDS_FILE))
