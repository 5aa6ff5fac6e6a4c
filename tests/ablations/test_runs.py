"""The driver: what is finished stays, what is not goes on, and the table says which is which."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from configs import ablations
from glober_jax.ablations import runs, table
from glober_jax.ablations.runs import Ablation, run_all
from glober_jax.errors import UserError
from glober_jax.experiment.config import parse

ROWS = ("ours", "plain_video")


@pytest.fixture
def ablation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ablation:
    """Rows of the shipped config, with operations that nobody has to count."""

    def counted(experiment: Any, plain: bool) -> dict[str, float]:
        return {"plain_video": 4.0} if plain else {"autoencoder": 2.0, "generator": 1.0}

    monkeypatch.setattr(runs, "flops_per_step", counted)
    return Ablation("configs/ablations.py", vars(ablations), tmp_path, size=32, flops=1000.0)


def _result(fvd: float, made_again: bool) -> dict[str, Any]:
    score = {"value": fvd, "low": fvd - 10, "high": fvd + 10}
    result = {
        "scores": {"fvd": score, "kvd": score},
        "floor": {"fvd": {"value": 7.0}},
        "motion": {"difference": {"generated": 0.03, "real": 0.06}},
        "coverage": {"precision": 0.5},
        "versions": {"jax": "1"},
        "devices": ["cpu"],
    }
    if made_again:
        kind = {"psnr_db": dict.fromkeys(("at_keys", "elsewhere"), 21.5)}
        kind["scores"] = {"fvd": {"value": 55.0}}
        result["reconstruction"] = {"kinds": {"reconstruction": kind}}
    return result


class Machine:
    """Stands in for the commands: leaves what they leave, and fails once, at number `fails_at`."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.commands: list[list[str]] = []
        self._fails_at = fails_at

    def __call__(self, command: Sequence[str]) -> None:
        self.commands.append(list(command))
        if len(self.commands) - 1 == self._fails_at:
            raise UserError("a machine went away")
        flags = dict(word[2:].split("=", 1) for word in command[1:] if "=" in word)
        if command[0] == "glober_jax.evaluate":
            output = Path(flags["output"])
            fvd = 100.0 + 20 * int(output.parent.name)
            output.write_text(json.dumps(_result(fvd, "workdir" in flags)))
        else:
            (Path(flags["workdir"]) / "seconds.json").write_text('{"seconds_per_video": 0.25}')


def test_an_interrupted_ablation_goes_on_and_writes_the_table_again(ablation: Ablation) -> None:
    """Fails when finished runs are made again, unfinished ones are not, or partial rows, means or
    missing numbers are told as something else.
    """
    pages: list[str] = []
    machine = Machine(fails_at=5)

    def write() -> None:
        found = table.summary(ablation, range(2)) | {"command": "ablate"}
        pages.append(table.markdown(json.loads(json.dumps(found)), "results.json"))

    with pytest.raises(UserError, match="went away"):
        run_all(ablation, ROWS, range(2), write, machine)
    names = [command[0].split(".")[-1] for command in machine.commands]
    assert names == ["train_row", "evaluate"] * 3
    train, plain = machine.commands[0], machine.commands[2]
    assert "--plain_video" in plain and "--plain_video" not in train
    assert "--config=configs/ablations.py:ours,32" in train
    assert {"--config.seed=0", "--config.autoencoder.steps=167"} < set(train)
    assert "Partial, some seeds are still missing: ours, plain_video." in pages[-1]
    assert "| ours (partial) | 100 [90, 110] |" in pages[-1]

    machine = Machine()
    run_all(ablation, ROWS, range(2), write, machine)
    assert len(machine.commands) == 4
    assert all(f"{ablation.output}" in " ".join(c) and "/0" not in c[-1] for c in machine.commands)
    dashes = " | \N{EN DASH}"
    assert "Partial" not in pages[-1] and "FVD 7." in pages[-1]
    assert "| ours | 110 ± 14 [100, 120] | 110.0 ± 14.1 | 0.50 ± 0.00" + dashes * 2 in pages[-1]
    assert "| ours | 0.50 ± 0.00" + dashes * 2 in pages[-1]
    assert "| ours | 55 ± 0 | 21.50 ± 0.00 | 21.50 ± 0.00" + dashes * 2 in pages[-1]
    assert "| plain_video" + dashes * 5 in pages[-1]
    assert "| plain_video | 0, 1 | plain_video 250 |" in pages[-1]

    run_all(ablation, ("ours",), range(3), write, machine)
    assert len(machine.commands) == 6 and "| plain_video | 110" in pages[-1]


def test_runs_with_other_settings_are_not_mixed(ablation: Ablation) -> None:
    """Fails when a table compares runs of different budgets without a word."""
    run_all(ablation, ROWS, [0], lambda: None, Machine())
    more = Ablation(**(vars(ablation) | {"flops": 2000.0}))
    with pytest.raises(UserError, match=r"ours/0 was begun with other settings \(flops, steps"):
        run_all(more, ROWS, [0], lambda: None, Machine())


def test_every_row_is_a_config_of_its_own() -> None:
    """Fails when a row cannot be trained, or is the same as another."""
    for size in (32, 64):
        sources = [parse(ablations.get_config(f"{row},{size}")).source for row in ablations.ROWS]
        assert all(source["frame_size"] == size for source in sources)
        assert len({json.dumps(source) for source in sources}) == len(sources)
