"""Trains, evaluates and times each row and seed in OUTPUT/ROW/SEED, one after the other.

A run is a few commands, each a resumable process. Its settings are in plan.json; a finished run,
which is not repeated, also has result.json and seconds.json.

All runs take the same number of operations: those of the traced training steps (`planning.flops`),
with gradients and frozen networks. `AUTOENCODER_SHARE` of them is the autoencoder's, the rest the
generator's; the plain video model has one stage. The codec, equal in all rows, is not counted.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jax.sharding import AbstractMesh, AxisType

from glober_jax import media
from glober_jax.ablations import plain_video
from glober_jax.errors import UserError
from glober_jax.experiment import config
from glober_jax.experiment.options import Experiment
from glober_jax.experiment.stages import AbstractStage, abstract_stage
from glober_jax.parallel.mesh import AXES
from glober_jax.planning.compiling import trace_program
from glober_jax.planning.flops import count_flops
from glober_jax.progress import Progress
from glober_jax.training import autoencoder, generator

PLAN_FILE, RESULT_FILE, SECONDS_FILE = "plan.json", "result.json", "seconds.json"
AUTOENCODER_SHARE = 1 / 3
_SHARES = {
    autoencoder.NAME: AUTOENCODER_SHARE,
    generator.NAME: 1.0 - AUTOENCODER_SHARE,
    plain_video.NAME: 1.0,
}


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
    execute: Callable[[Sequence[str]], None],
) -> None:
    """Makes the unfinished runs: all rows with the first seed, then with the next.

    `after_each()` is also called before the first run; `execute(words)` runs `python -m WORDS`.
    Raises `UserError` where a run was begun with other settings.
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
    """Runs `python -m ARGUMENTS`, and passes on SIGTERM and Ctrl-C, so that it can save."""
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
    """The settings of a row's training, as plain JSON values."""
    source = json.loads(json.dumps(ablation.config(row)))
    # Counting takes a minute and is cached.
    file = ablation.output / row / "flops_per_step.json"
    kept = json.loads(file.read_text()) if file.exists() else {}
    if kept.get("config") != source:
        experiment = config.parse(ablation.config(row))
        print(f"{row}: counting operations", file=sys.stderr, flush=True)
        counted = flops_per_step(experiment, ablation.is_plain(row))
        kept = {"flops_per_step": counted, "config": source}
        media.write_file(file, json.dumps(kept, indent=2).encode())
    steps = steps_for(kept["flops_per_step"], ablation.flops)
    return {
        "flops": ablation.flops,
        "clips": ablation.clips,
        "flops_per_step": kept["flops_per_step"],
        "steps": steps,
        "changes": with_steps(source, steps),
        "config": source,
    }


def flops_per_step(experiment: Experiment, plain: bool) -> dict[str, float]:
    """Operations of a step by stage: the mean over the config's steps."""
    mesh = AbstractMesh((1, 1, 1), AXES, axis_types=(AxisType.Auto,) * 3)
    if plain:
        stages = [plain_video.abstract_plain_video(experiment, mesh)]
    else:
        names = (autoencoder.NAME, generator.NAME)
        stages = [abstract_stage(experiment, name, mesh) for name in names]
    return {stage.name: mean_flops(stage, mesh) for stage in stages}


def mean_flops(stage: AbstractStage, mesh: AbstractMesh) -> float:
    """Operations of a stage's mean step; steps with the discriminator cost more."""
    ends = [first for first, _ in stage.programs[1:]] + [stage.total_steps]
    total = 0
    for (first, program), end in zip(stage.programs, ends, strict=True):
        flops = count_flops(trace_program(stage, program, mesh))
        total += (min(end, stage.total_steps) - first) * flops
    return total / stage.total_steps


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
