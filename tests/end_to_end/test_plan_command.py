"""`python -m glober_jax.plan`, for a TPU slice that is not there."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.commands import TINY_CONFIG

_HERE = f"--config={TINY_CONFIG}"


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
def test_plans_for_a_slice(commands: Any, tmp_path: Path) -> None:
    """Fails when a user has to set anything for libtpu, or the compiled step is not sharded."""
    output = tmp_path / "plan.json"
    flags = [_HERE, "--topology=v5e:2x2", "--stage=generator", "--config.mesh.fsdp=2"]
    done = commands.succeed("plan", *flags, f"--output={output}", "--effort=-1")
    # Nothing of libtpu's own, and how long it took.
    assert all(line.startswith("generator, steps 0-6: ") for line in done.stderr.splitlines())
    plan = json.loads(output.read_text())
    assert plan["fits"] is True and plan["topology"]["chips"] == 4
    (stage,) = plan["stages"]
    (program,) = stage["programs"]
    memory, seconds = program["memory_per_chip"], program["seconds"]
    assert memory["available"] == int(15.75 * 2**30) > memory["total"] > memory["temporaries"] > 0
    assert program["collectives"]["all-reduce"]["bytes"] > 0
    assert seconds["step"] >= seconds["compute"] + seconds["interconnect"] > 0
    assert stage["chip_hours"] == pytest.approx(6 * seconds["step"] / 3600 * 4)
    assert "generator: fits" in done.stdout and "It is assumed that" in done.stdout


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--topology=v5e:4by4"], "--topology=v5e:4by4 is no slice"),
        (["--topology=v5e:2x2", "--sweep", "--config.mesh.tensor=8"], "needs 8 devices, but 4"),
    ],
)
def test_mistakes_are_one_sentence(
    commands: Any, tmp_path: Path, flags: list[str], says: str
) -> None:
    """Fails when a mistake ends in a stack trace, or after a compilation."""
    flags = [*flags, "--stage=generator", f"--output={tmp_path / 'plan.json'}"]
    assert says in commands.refuse("plan", _HERE, *flags)
