"""A stage's plan is what its training program is, on devices that are here or not."""

from typing import Any

import jax
import pytest

from glober_jax.config import parse
from glober_jax.experiment import Experiment
from glober_jax.parallel.mesh import make_mesh
from glober_jax.planning import experiment_plan
from glober_jax.planning.chips import GIB
from glober_jax.planning.compiling import find_overflow
from glober_jax.planning.experiment_plan import plan_mesh
from glober_jax.planning.stages import plan_stage
from glober_jax.planning.table import stage_table
from glober_jax.planning.topology import LOCAL, parse_topology
from glober_jax.training.abstract import abstract_stage
from glober_jax.training.loop import Preview, Stage, compile_programs
from tests.tiny import single_level_config


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    config = single_level_config()
    config.generator.batch_size = jax.device_count() * 4
    return parse(config)


@pytest.fixture(scope="module")
def local(experiment: Experiment) -> dict[str, Any]:
    """The generator's plan for the devices that are here."""
    mesh = make_mesh(experiment.mesh)
    return plan_stage(experiment, "generator", parse_topology(LOCAL), mesh, effort=0.0)


def test_memory_is_what_xla_reports_of_the_training_program(
    experiment: Experiment, local: dict[str, Any]
) -> None:
    """Fails when another program is planned than is trained, or its memory is misread.

    Broken: the state not donated; outputs that reuse arguments counted twice.
    """
    mesh = make_mesh(experiment.mesh)
    plan = abstract_stage(experiment, "generator", mesh)
    stage = Stage(
        name="generator",
        total_steps=1,
        create=lambda constants: plan.state,
        measure=dict,
        constant_shapes={},
        programs=plan.programs,
        frozen=plan.frozen,
        batches=lambda start: iter(()),
        preview=lambda state: Preview({}, {}),
    )
    trained = compile_programs(stage, mesh)(0).lower(plan.state, plan.frozen, plan.batch).compile()
    report = trained.memory_analysis()
    (program,) = local["programs"]
    memory = program["memory_per_chip"]
    assert memory["arguments"] == report.argument_size_in_bytes
    assert memory["temporaries"] == report.temp_size_in_bytes > 0
    assert memory["outputs"] == report.output_size_in_bytes - report.alias_size_in_bytes
    # What the rules say is held is what the program is given, and what it does not ask for.
    held = sum(local["bytes_per_chip"].values())
    assert held == pytest.approx(memory["arguments"] + memory["unused"], rel=0.001)
    assert memory["unused"] > 0


def test_plan_says_everything(local: dict[str, Any]) -> None:
    """Fails when a number that is promised is missing from the plan, or from its table."""
    assert local["fits"] is True and local["batch_per_chip"] == 4
    assert set(local["bytes_per_chip"]) == {"parameters", "average", "optimizer", "frozen", "batch"}
    (program,) = local["programs"]
    assert program["first_step"] == 0 and program["steps"] == local["steps"]
    assert program["flops"] == program["flops_per_chip"] * jax.device_count() > 0
    memory = program["memory_per_chip"]
    parts = ("arguments", "outputs", "temporaries", "code")
    assert memory["total"] == sum(memory[part] for part in parts) < memory["available"]
    assert set(program["collectives"]) == {
        "all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute"
    }  # fmt: skip
    # Rates of this machine's processor are in no table.
    assert program["seconds"] is None and local["days"] is None
    assert "generator: fits, " in stage_table(local)


def test_without_a_compiler_operations_and_shards_are_known(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when a plan without libtpu needs devices, or work per chip depends on how many.

    Broken: bytes of whole parameters; operations of all chips.
    """
    monkeypatch.setattr(experiment_plan, "libtpu_version", lambda: None)
    plans = {}
    for name, fsdp in (("v5e:4x4", 1), ("v4:8x8x8", 8)):
        topology = parse_topology(name)
        config = single_level_config()
        config.mesh.fsdp = fsdp
        config.generator.batch_size = 2 * topology.chips
        mesh, reason = plan_mesh(parse(config), topology)
        assert "libtpu is not installed" in reason
        plans[fsdp] = plan_stage(parse(config), "generator", topology, mesh, effort=0.0)
    few, many = (plan["programs"][-1]["flops_per_chip"] for plan in plans.values())
    assert few == pytest.approx(many, rel=0.03)
    assert plans[1]["fits"] is None and plans[1]["programs"][0]["memory_per_chip"] is None
    held = {fsdp: plan["bytes_per_chip"] for fsdp, plan in plans.items()}
    assert held[1]["batch"] == held[8]["batch"]
    assert "whether it fits is not known" in stage_table(plans[1])


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO "
            "temporaries (138.00G) exceeds available HBM (15.75G).",
            (138 * GIB, int(15.75 * GIB)),
        ),
        (
            "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 20.5G of 15.75G hbm. "
            "Exceeded hbm capacity by 4.75G.",
            (int(20.5 * GIB), int(15.75 * GIB)),
        ),
        ("RESOURCE_EXHAUSTED: Ran out of memory in memory space vmem. Used 20M of 16M vmem.", None),
        ("INVALID_ARGUMENT: No such compile option", None),
    ],
)
def test_complaints_about_memory_are_verdicts(message: str, found: tuple[int, int] | None) -> None:
    """Fails when a compiler out of memory ends the plan, or another error becomes a verdict."""
    assert find_overflow(message) == found
