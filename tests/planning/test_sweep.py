"""The largest batch is found in few compilations, and none is made twice."""

import json
from pathlib import Path
from typing import Any

import pytest
from etils import epath

from glober_jax.errors import UserError
from glober_jax.experiment.config import parse
from glober_jax.planning import sweep
from glober_jax.planning.plan_table import sweep_table
from glober_jax.planning.sweep import MOST_TRIALS, Trial, find_largest
from glober_jax.planning.topology import LOCAL, parse_topology
from tests.tiny import tiny_config


@pytest.mark.parametrize("start", [2, 10, 40])
@pytest.mark.parametrize(
    ("state", "per_clip", "beyond", "step", "largest"),
    [
        pytest.param(3.0, 1.1, 1.0, 1, 11, id="affine"),
        pytest.param(3.0, 0.01, 1.0, 2, 1274, id="small clips"),
        # Near the limit the compiler recomputes, so that more fits than the line says.
        pytest.param(3.0, 1.1, 0.3, 2, 16, id="recomputed"),
        # Beyond the limit more than the line says.
        pytest.param(9.0, 0.5, 2.5, 1, 10, id="convex"),
        pytest.param(14.0, 2.0, 1.0, 2, 0, id="nothing fits"),
        pytest.param(10.0, 3.0, 1.0, 1, 1, id="one fits"),
    ],
)
def test_largest_batch(
    state: float, per_clip: float, beyond: float, step: int, largest: int, start: int
) -> None:
    """Fails when the batch found does not fit, or a larger one does, or it takes many trials."""
    available = 15.75

    def run(batch: int) -> Trial:
        needed = state + per_clip * batch
        if needed > 13:
            needed = 13 + beyond * (needed - 13)
        # Of what does not fit the compiler does not always say how large it is.
        known = needed <= available or batch % 3
        return Trial(
            batch, needed <= available, int(needed * 1e9) if known else None, int(available * 1e9)
        )

    trials = find_largest(run, step, start)
    fitting = [trial.batch for trial in trials if trial.fits]
    assert max(fitting, default=0) == largest
    assert min(trial.batch for trial in trials if not trial.fits) == largest + step
    assert len(trials) <= MOST_TRIALS


def test_interrupted_sweep_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when a compilation is made again, another config's result is taken, or the best case
    is not the fastest."""
    compiled: list[tuple[str, int, int]] = []

    def plan_stage(experiment: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
        options, remat = experiment.codec, experiment.networks.frame_codec.remat
        batch = options.batch_size // options.micro_batches
        if len(compiled) == 3:
            compiled.append((remat, batch, options.micro_batches))
            raise KeyboardInterrupt
        compiled.append((remat, batch, options.micro_batches))
        sums = 3.5e9 if options.micro_batches > 1 else 0.0
        total = batch * (2 if remat == "none" else 1) * 1e9 + sums
        program = {
            "fits": total <= 7e9,
            "memory_per_chip": {"needed": total, "available": 7e9},
            "seconds": {"examples_per_second": batch * (3.0 if remat == "none" else 1.0)},
        }
        return {"programs": [program], "notes": ["half of the chips wait"]}

    monkeypatch.setattr(sweep, "plan_stage", plan_stage)
    output = epath.Path(tmp_path / "sweep.json")

    def run(seed: int = 0) -> dict[str, Any]:
        config = tiny_config()
        config.seed = seed
        return sweep.sweep(
            parse(config), "codec", parse_topology(LOCAL), 0.0, (1,), ("none", "blocks"), output
        )

    with pytest.raises(KeyboardInterrupt):
        run()
    found = run()
    assert len(compiled) - 1 == len(set(compiled)) == len(json.loads(output.read_text())["trials"])
    largest = {row["remat"]: row["largest"]["batch"] for row in found["rows"]}
    assert largest == {"none": 3, "blocks": 7}
    assert found["best"]["remat"] == "none"
    # The config's eight clips: not in parts of three, and two with the sums are too much.
    assert found["best"]["micro_batches"] == 8
    assert "--config.model.frame_codec.remat=none" in sweep_table(found)
    assert "note: half of the chips wait" in sweep_table(found)
    before = len(compiled)
    assert run() == found and len(compiled) == before
    run(seed=1)
    assert len(compiled) > before
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(UserError, match="is not from a sweep"):
        output = epath.Path(tmp_path / "other.json")
        run()
