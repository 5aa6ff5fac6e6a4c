"""A stage's plan is what its training program is, on devices that are here or not."""

import jax
import pytest

from glober_jax.experiment.config import parse
from glober_jax.experiment.stages import abstract_stage
from glober_jax.parallel.mesh import make_mesh
from glober_jax.planning import stage_plan
from glober_jax.planning.compiling import find_overflow
from glober_jax.planning.hlo import KINDS
from glober_jax.planning.plan_table import stage_table
from glober_jax.planning.stage_plan import plan_mesh, plan_sampling, plan_stage
from glober_jax.planning.topology import GIB, LOCAL, parse_topology
from glober_jax.training.loop import jit_program
from tests.tiny import single_level_config


def test_memory_is_what_xla_reports_of_the_training_program() -> None:
    """Fails when another program is planned than is trained (broken: the state not donated), its
    memory is misread, or a number that is promised is missing.
    """
    config = single_level_config()
    config.generator.batch_size = jax.device_count() * 4
    experiment = parse(config)
    mesh = make_mesh(experiment.mesh)
    plan = plan_stage(experiment, "generator", parse_topology(LOCAL), mesh, effort=0.0)
    assert plan["fits"] is True and plan["batch_per_chip"] == 4
    (program,) = plan["programs"]
    assert (program["first_step"], program["steps"]) == (0, plan["steps"])
    assert program["flops"] == program["flops_per_chip"] * jax.device_count() > 0

    abstract = abstract_stage(experiment, "generator", mesh)
    ((_, step),) = abstract.programs
    trained = jit_program(step, abstract.state, abstract.frozen, mesh)
    compiled = trained.lower(abstract.state, abstract.frozen, abstract.batch).compile()
    report, memory = compiled.memory_analysis(), program["memory_per_chip"]
    assert memory["arguments"] == report.argument_size_in_bytes
    assert memory["temporaries"] == report.temp_size_in_bytes > 0
    assert memory["outputs"] == report.output_size_in_bytes - report.alias_size_in_bytes
    parts = ("arguments", "outputs", "temporaries", "code")
    assert memory["total"] == sum(memory[part] for part in parts) < memory["available"]
    # What the rules say is held is what the program is given, and what it does not ask for.
    held = sum(plan["bytes_per_chip"].values())
    assert held == pytest.approx(memory["arguments"] + memory["unused"], rel=0.001)
    assert memory["unused"] > 0
    assert set(program["collectives"]) == set(KINDS)
    # Rates of this machine's processor are in no table.
    assert program["seconds"] is None and plan["days"] is None
    assert "generator: fits, " in stage_table(plan)


def test_without_a_compiler_operations_and_shards_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fails when a plan without libtpu needs devices, or work per chip depends on how many."""
    monkeypatch.setattr(stage_plan, "libtpu_version", lambda: None)
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


def test_sampling_is_planned_as_it_runs() -> None:
    """Fails when models are not held, what fills up devices is of use, or it is shown as training.

    Five frames in pieces of at most four are six frames' work.
    """
    config = single_level_config()
    config.sampling.update({"steps": 2, "decoder_steps": 2, "chunk_frames": 4})
    experiment = parse(config)
    mesh, _ = plan_mesh(experiment, parse_topology(LOCAL))
    plan = plan_sampling(experiment, parse_topology(LOCAL), mesh, 0.0, videos=1, frames=5)
    generator, decoder = plan["programs"]
    assert generator["useful"] == pytest.approx(1 / jax.device_count(), rel=0.01)
    assert decoder["runs"] == 2 or jax.device_count() > 1
    assert 0.4 < decoder["useful"] < 5 / 6 + 0.01
    for program in plan["programs"]:
        memory = program["memory_per_chip"]
        held = plan["bytes_per_chip"][program["program"]]
        # The rest are features, numbers, indices and a seed.
        assert 0 <= memory["arguments"] + memory["unused"] - held < 0.1 * held
    shown = stage_table(plan)
    assert shown.startswith("sampling: 1 videos of 5 frames") and "sampling: fits" in shown
    assert "clips per chip" not in shown and f"{decoder['useful']:.1%}" in shown


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
