"""Sweeps: the largest batch of a stage that fits, by shards and recomputation; the fastest case.

Every trial is a whole compilation, minutes at full size. Memory is close to affine in the batch:
two batches predict the largest one, and a few more confirm it. Each result is written to the output
file at once, from which the same command resumes.
"""

import contextlib
import copy
import functools
import hashlib
import itertools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from etils import epath
from jax.sharding import Mesh

import glober_jax
from glober_jax.errors import UserError
from glober_jax.experiment import config
from glober_jax.experiment.options import Experiment
from glober_jax.models.layers import Remat
from glober_jax.planning.stage_plan import plan_mesh, plan_stage, write_plan
from glober_jax.planning.topology import Topology, libtpu_version
from glober_jax.training import autoencoder, codec, generator

# Of one case.
MOST_TRIALS = 6
# Numbers of micro-batches to try: sums of gradients take memory too, so the first may not fit.
_MOST_DIVISIONS = 2
_LARGEST_BATCH = 4096
# The networks of each stage that have `remat`.
_NETWORKS = {
    codec.NAME: ("frame_codec",),
    autoencoder.NAME: ("frame_codec", "video_encoder", "frame_features", "unet", "discriminator"),
    generator.NAME: ("generator",),
}


class Trial(NamedTuple):
    """A batch per device; bytes needed (None where the compiler does not report it) and available.

    `examples_per_second` is None where it cannot be estimated; `notes` are those of the plan.
    """

    batch: int
    fits: bool
    needed: int | None
    available: int
    examples_per_second: float | None = None
    notes: Sequence[str] = ()

    @property
    def speed(self) -> tuple[float, int]:
        return self.examples_per_second or 0.0, self.batch


def sweep(
    experiment: Experiment,
    stage: str,
    topology: Topology,
    effort: float,
    fsdp: Sequence[int],
    remat: Sequence[Remat],
    output: epath.Path,
) -> dict[str, Any]:
    """The largest batch of a stage's last program, case by case, and which case to take.

    Returns {"stage", "networks", "rows", "best"}. Of each case: all trials, the `largest` batch
    that fits and the `fastest`. `best` is the row whose fastest is the fastest of all, None if
    nothing fits, with the number of `micro_batches` in which the config's own batch fits, or None.

    Raises:
      UserError: libtpu is missing, a mesh does not cover the chips, or `output` is no plan.
    """
    cases, file = list(itertools.product(fsdp, remat)), _read(output)
    most = len(cases) * MOST_TRIALS + _MOST_DIVISIONS
    print(f"sweep of {stage}: at most {most} compilations", file=sys.stderr, flush=True)
    # Devices that hold clips of their own; `plan_mesh` refuses meshes larger than the slice.
    ways = max(topology.chips // experiment.mesh.tensor, 1)
    batch_size = getattr(experiment, stage).batch_size
    configured = batch_size // ways
    # The adversary judges every `step`-th clip: devices with fewer would idle.
    adversarial = experiment.autoencoder.adversarial
    step = adversarial.clip_stride if stage == autoencoder.NAME and adversarial.weight else 1
    found: dict[str, Any] = {"stage": stage, "networks": _NETWORKS[stage], "rows": [], "best": None}

    def write() -> None:
        write_plan(output, file | found)

    def run(fsdp: int, remat: Remat, batch: int, micro_batches: int = 1) -> Trial:
        changed = _changed(experiment, stage, fsdp, remat, batch * ways, micro_batches)
        key = _key(changed, stage, topology, effort)
        if key not in file["trials"]:
            mesh, reason = plan_mesh(changed, topology)
            if not isinstance(mesh, Mesh):
                raise UserError(reason)
            print(f"fsdp={fsdp}, remat={remat}, {batch} per device", file=sys.stderr)
            plan = plan_stage(changed, stage, topology, mesh, effort, only_last=True)
            file["trials"][key] = plan
            write()
            # Traces of programs as large as these are gigabytes together.
            jax.clear_caches()
        plan = file["trials"][key]
        (program,) = plan["programs"]
        memory, seconds = program["memory_per_chip"], program["seconds"] or {}
        speed = seconds.get("examples_per_second")
        fits, needed, available = program["fits"], memory["needed"], memory["available"]
        return Trial(batch, fits, needed, available, speed, plan["notes"])

    for case in cases:
        start = max(configured // step, 1) * step
        tried = find_largest(functools.partial(run, *case), step, start)
        found["rows"].append(_row(*case, tried))
        write()
    fitting = [row for row in found["rows"] if row["fastest"]]
    if fitting:
        best = max(fitting, key=lambda row: Trial(**row["fastest"]).speed)
        own = functools.partial(run, best["fsdp"], best["remat"], configured)
        counts = _divisions(batch_size, ways, step, best["fastest"]["batch"])
        best["micro_batches"] = next((count for count in counts if own(count).fits), None)
        found["best"] = best
        write()
    return found


def _row(fsdp: int, remat: Remat, tried: Sequence[Trial]) -> dict[str, Any]:
    """A case with its trials, the largest batch that fits and the fastest one; None without."""
    row: dict[str, Any] = {"fsdp": fsdp, "remat": remat, "largest": None, "fastest": None}
    row["trials"] = [trial._asdict() for trial in tried]
    if fitting := [trial for trial in tried if trial.fits]:
        row["largest"] = max(fitting, key=lambda trial: trial.batch)._asdict()
        row["fastest"] = max(fitting, key=lambda trial: trial.speed)._asdict()
    return row


def _divisions(batch_size: int, ways: int, step: int, at_most: int) -> list[int]:
    """The numbers of micro-batches to try for the config's own batch, fewest first.

    A device's part of each is a multiple of `step` clips, and not more than `at_most`.
    """
    counts = (n for n in range(1, batch_size // ways + 1) if batch_size % (ways * n * step) == 0)
    return [n for n in counts if batch_size // (ways * n) <= at_most][:_MOST_DIVISIONS]


def find_largest(run: Callable[[int], Trial], step: int, start: int) -> list[Trial]:
    """Trials of multiples of `step`, from `start` to the largest batch that fits.

    They end when it fits and `step` more does not, or after `MOST_TRIALS`.
    """
    tried: dict[int, Trial] = {}
    batch = start
    while len(tried) < MOST_TRIALS:
        tried[batch] = run(batch)
        below = max((b for b, trial in tried.items() if trial.fits), default=0)
        above = min((b for b, trial in tried.items() if not trial.fits), default=_LARGEST_BATCH)
        if above - below <= step:
            break
        guess = _guess(tried, below, above) // step * step
        batch = min(max(guess, below + step), above - step)
    return list(tried.values())


def _guess(tried: Mapping[int, Trial], below: int, above: int) -> int:
    """Where the line through the two largest known batches reaches the available memory.

    After one trial, twice or half its batch.
    """
    if len(tried) == 1:
        return 2 * below or above // 2
    known = sorted(b for b, trial in tried.items() if trial.needed and b <= above)[-2:]
    if len(known) == 2:
        less, more = (tried[batch].needed for batch in known)
        if more > less:
            left = tried[known[0]].available - less
            return int(known[0] + left * (known[1] - known[0]) / (more - less))
    return (below + above) // 2


def _changed(
    experiment: Experiment, stage: str, fsdp: int, remat: Remat, batch_size: int, micro_batches: int
) -> Experiment:
    plain = copy.deepcopy(experiment.source)
    plain["mesh"] |= {"data": -1, "fsdp": fsdp}
    for network in _NETWORKS[stage]:
        plain["model"][network]["remat"] = remat
    plain[stage] |= {"batch_size": batch_size, "micro_batches": micro_batches}
    return config.parse(plain)


def _key(changed: Experiment, stage: str, topology: Topology, effort: float) -> str:
    """A digest of everything that a trial's compiled program depends on."""
    where = [stage, topology.name, topology.slices, effort]
    decisive = [changed.source, where, jax.__version__, libtpu_version(), _code()]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


@functools.cache
def _code() -> str:
    """A digest of this package's code."""
    digest = hashlib.sha256()
    for file in sorted(Path(glober_jax.__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _read(output: epath.Path) -> dict[str, Any]:
    """The results of an interrupted sweep, empty without a file."""
    if not output.exists():
        return {"trials": {}}
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(output.read_text())
        if isinstance(found, dict) and "trials" in found:
            return found
    raise UserError(f"--output={output} is not from a sweep: name another file")
