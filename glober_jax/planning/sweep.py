"""The largest batch that fits, by parameter shards and recomputation, and the fastest case.

Every trial is a whole compilation, minutes at full size. Memory is close to affine in the batch:
two batches predict the largest one, and a few more confirm it. Each result goes into the output
file at once, and is taken from there when the same command goes on.
"""

import contextlib
import copy
import dataclasses
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
from glober_jax.models.remat import Remat
from glober_jax.planning.stage_plan import plan_mesh, plan_stage, write_plan
from glober_jax.planning.topology import Topology, libtpu_version
from glober_jax.training import autoencoder, codec, generator

# Of one case: two to predict, and those that close in on the largest batch.
MOST_TRIALS = 6
# Sums of gradients take memory, too, so that one micro-batch more may be needed than expected.
_MOST_DIVISIONS = 2
_LARGEST_BATCH = 4096
# The networks of each stage that have `remat`.
_NETWORKS = {
    codec.NAME: ("frame_codec",),
    autoencoder.NAME: ("frame_codec", "video_encoder", "frame_features", "unet", "discriminator"),
    generator.NAME: ("generator",),
}


class Trial(NamedTuple):
    """A batch per device; bytes needed, where the compiler says so, and present.

    `examples_per_second` are clips, None where that cannot be estimated; `notes` those of the plan.
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

    Returns {"stage", "networks", "rows", "best"}: the networks whose `remat` is set; for each case
    all trials, the `largest` batch that fits and the `fastest`, which need not be the same; and the
    row whose fastest is the fastest of all, None if nothing fits. `best` also has the number of
    `micro_batches` in which the config's own batch fits, None where there is none.

    Raises:
      UserError: libtpu is missing, a mesh does not cover the chips, or `output` is no plan.
    """
    trials = _Trials(experiment, stage, topology, effort, output)
    cases = list(itertools.product(fsdp, remat))
    most = len(cases) * MOST_TRIALS + _MOST_DIVISIONS
    print(f"sweep of {stage}: at most {most} compilations", file=sys.stderr, flush=True)
    # The adversary judges every `step`-th clip: fewer per device, and devices would idle.
    step, adversarial = 1, experiment.autoencoder.adversarial
    if stage == autoencoder.NAME and adversarial.weight:
        step = adversarial.clip_stride
    configured = getattr(experiment, stage).batch_size // trials.rows
    found: dict[str, Any] = {"stage": stage, "networks": _NETWORKS[stage], "rows": [], "best": None}
    best: Trial | None = None
    for case in cases:
        tried = find_largest(
            functools.partial(trials.run, *case), step, max(configured // step, 1) * step
        )
        fitting = [trial for trial in tried if trial.fits]
        largest = max(fitting, key=lambda trial: trial.batch, default=None)
        fastest = max(fitting, key=lambda trial: trial.speed, default=None)
        row = {
            "fsdp": case[0],
            "remat": case[1],
            "trials": [trial._asdict() for trial in tried],
            "largest": largest and largest._asdict(),
            "fastest": fastest and fastest._asdict(),
        }
        found["rows"].append(row)
        if fastest and (best is None or fastest.speed > best.speed):
            best, found["best"] = fastest, row
        trials.write(found)
    if best is not None:
        row = found["best"]
        # Micro-batches that the config's batch divides into, small enough to fit.
        counts = [
            count
            for count in range(1, configured + 1)
            if configured % (count * step) == 0 and configured // count <= best.batch
        ]
        run = functools.partial(trials.run, row["fsdp"], row["remat"], configured)
        fits = (count for count in counts[:_MOST_DIVISIONS] if run(count).fits)
        row["micro_batches"] = next(fits, None)
        trials.write(found)
    return found


def find_largest(run: Callable[[int], Trial], step: int, start: int) -> list[Trial]:
    """Trials from `start` on up or down to the largest batch that fits, of the multiples of `step`.

    Among them it is known to fit, and `step` more not to, unless `MOST_TRIALS` are made before.
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
    """Where the line through the last two known batches reaches the memory there is.

    Of one known batch, twice or half of it.
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


@dataclasses.dataclass(frozen=True)
class _Trials:
    """Plans of a stage with other settings, each compiled once and kept in `output`."""

    experiment: Experiment
    stage: str
    topology: Topology
    effort: float
    output: epath.Path

    @property
    def rows(self) -> int:
        """Devices that hold clips of their own."""
        return self.topology.chips // self.experiment.mesh.tensor

    @functools.cached_property
    def _file(self) -> dict[str, Any]:
        return _read(self.output)

    def run(self, fsdp: int, remat: Remat, batch: int, micro_batches: int = 1) -> Trial:
        """A trial of `batch` clips per device."""
        plain, plans = copy.deepcopy(self.experiment.source), self._file["trials"]
        plain["mesh"] = {**plain["mesh"], "data": -1, "fsdp": fsdp}
        for network in _NETWORKS[self.stage]:
            plain["model"][network]["remat"] = remat
        plain[self.stage] |= {"batch_size": batch * self.rows, "micro_batches": micro_batches}
        changed = config.parse(plain)
        key = self._key(changed)
        if key not in plans:
            mesh, reason = plan_mesh(changed, self.topology)
            if not isinstance(mesh, Mesh):
                raise UserError(reason)
            print(f"fsdp={fsdp}, remat={remat}, {batch} per device", file=sys.stderr)
            plans[key] = plan_stage(
                changed, self.stage, self.topology, mesh, self.effort, only_last=True
            )
            self.write({})
            # Traces of programs as large as these are gigabytes together.
            jax.clear_caches()
        (program,) = plans[key]["programs"]
        memory, seconds = program["memory_per_chip"], program["seconds"] or {}
        return Trial(
            batch,
            program["fits"],
            memory["needed"],
            memory["available"],
            seconds.get("examples_per_second"),
            plans[key]["notes"],
        )

    def write(self, found: dict[str, Any]) -> None:
        self._file.update(found)
        write_plan(self.output, self._file)

    def _key(self, changed: Experiment) -> str:
        """Tells trials apart by all that decides what is compiled."""
        decisive = {
            "config": changed.source,
            "stage": self.stage,
            "topology": [self.topology.name, self.topology.slices],
            "effort": self.effort,
            "versions": [jax.__version__, libtpu_version()],
            "code": _code(),
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


def _read(output: epath.Path) -> dict[str, Any]:
    """What an earlier sweep left, or the beginning of one."""
    if not output.exists():
        return {"trials": {}}
    with contextlib.suppress(ValueError):
        found = json.loads(output.read_text())
        if isinstance(found, dict) and "trials" in found:
            return found
    raise UserError(f"--output={output} is not from a sweep: name another file")


@functools.cache
def _code() -> str:
    """A digest of this package: other code compiles to another program."""
    digest = hashlib.sha256()
    for file in sorted(Path(glober_jax.__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
