"""Rows get as many steps as the same operations pay for."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, AxisType

from configs import quickstart
from glober_jax.ablations.runs import AUTOENCODER_SHARE, mean_flops, steps_for, with_steps
from glober_jax.errors import UserError
from glober_jax.experiment.stages import AbstractStage
from glober_jax.parallel.mesh import AXES


def test_the_mean_step_weighs_programs_by_their_steps() -> None:
    """Fails when only one of a stage's programs is counted, or each alike."""
    square, once = jax.ShapeDtypeStruct((8, 8), jnp.float32), 2 * 8**3

    def multiply(times: int) -> Any:
        return lambda state, frozen, batch: state @ jnp.linalg.matrix_power(frozen, times)

    programs = ((0, multiply(1)), (9, multiply(2)))
    stage = AbstractStage("any", 12, 1, programs, square, square, {})
    mesh = AbstractMesh((1, 1, 1), AXES, axis_types=(AxisType.Auto,) * 3)
    assert mean_flops(stage, mesh) == (9 * once + 3 * 2 * once) / 12


def test_all_rows_spend_the_same() -> None:
    """Fails when rows spend different sums, or a stage more or less than its share."""
    counts = [
        {"autoencoder": 22e9, "generator": 9e9},
        {"autoencoder": 41e9, "generator": 9.5e9},
        {"plain_video": 30e9},
    ]
    for count in counts:
        steps = steps_for(count, 1e14)
        assert sum(steps[name] * count[name] for name in count) == pytest.approx(1e14, rel=1e-3)
        if len(count) == 2:
            spent = [steps[name] * count[name] for name in count]
            assert spent[0] == pytest.approx(1e14 * AUTOENCODER_SHARE, rel=2e-3)
    with pytest.raises(UserError, match=r"give 1\.23e"):
        steps_for(counts[1], 1e9)


def test_the_adversary_keeps_its_part_of_the_steps() -> None:
    """Fails when fewer steps never reach the adversary, which the counted mean includes."""
    config = quickstart.get_config().to_dict()
    config["autoencoder"]["steps"] = 400
    config["autoencoder"]["adversarial"] |= {"start_step": 360, "warmup_steps": 20}
    assert with_steps(config, {"autoencoder": 100, "generator": 7}) == {
        "autoencoder.steps": 100,
        "autoencoder.adversarial.start_step": 90,
        "autoencoder.adversarial.warmup_steps": 5,
        "generator.steps": 7,
    }
    assert with_steps(config, {"plain_video": 100})["autoencoder.steps"] == 100
