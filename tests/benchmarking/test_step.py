"""Training steps as they are measured: the stages' own programs, and the model's operations."""

import jax
import numpy as np
import pytest

from glober_jax.benchmarking import published
from glober_jax.benchmarking.step import model_flops, step_program
from glober_jax.experiment.config import parse
from glober_jax.parallel.mesh import make_mesh
from glober_jax.planning.flops import count_flops
from tests.tiny import single_level_config


def test_calls_go_on_training() -> None:
    """Fails when every call repeats one step, or random parameters make steps that are skipped."""
    config = single_level_config()
    config.generator.batch_size = 8 * jax.device_count()
    experiment = parse(config)
    program = step_program(experiment, "generator", make_mesh(experiment.mesh))
    compiled = program.trace().lower().compile()
    states = []
    for _ in range(2):
        state, metrics = program.call(compiled)
        assert metrics["skipped"] == 0 and np.isfinite(metrics["loss"])
        states.append(jax.device_get((state.step, state.params["generator"]["out"])))
    assert [int(step) for step, _ in states] == [1, 2]
    changed = jax.tree.map(lambda a, b: np.abs(a - b).max(), states[0][1], states[1][1])
    assert max(jax.tree.leaves(changed)) > 0
    assert program.examples == 8 * jax.device_count()


def test_recomputation_is_not_the_models() -> None:
    """Fails when what is computed again to save memory counts as the model's operations."""
    config = single_level_config()
    config.autoencoder.batch_size = 16 * jax.device_count()
    plain = parse(config)
    mesh = make_mesh(plain.mesh)
    for network in ("frame_codec", "video_encoder", "unet", "discriminator"):
        config.model[network].remat = "blocks"
    config.autoencoder.micro_batches = 2
    config.model.frame_codec.chunk_frames = 4 * jax.device_count()
    program = step_program(parse(config), "joint", mesh)
    assert program.model_flops == model_flops(plain, "autoencoder", "joint", mesh)
    assert count_flops(program.trace()) > 1.1 * program.model_flops


def test_the_release_is_compared_with_its_own_sizes_and_speed() -> None:
    """Fails when networks of another size are compared, or a faster machine is credited for it.

    Millions of parameters were counted in the release; the projector's include the domain tokens.
    """
    counted = published.reduced_experiment().networks.count_parameters()
    counted["encoder"] = counted["video_encoder"] + counted["frame_features"]
    theirs = {"unet": 37.52, "encoder": 3.21, "global_tokens": 5.92, "discriminator": 1.99}
    for name, millions in theirs.items():
        assert counted[name] / 1e6 == pytest.approx(millions, abs=0.006)
    rate = 2 * published.MATMUL_FLOPS_PER_CPU_SECOND
    seconds = published.RECORDED["unet"].cpu_seconds / 4
    figures = {"cpu_seconds": seconds, "matmul": {"flops_per_cpu_second": rate}}
    (row,) = published.comparison_rows({"unet": figures})
    assert float(row["scaled"]) == pytest.approx(2 * seconds, rel=0.01)
    assert row["scaled / ours"] == "2.00"
