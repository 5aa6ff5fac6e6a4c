"""A checkpoint saved on one mesh is restored on any other, bit for bit.

Run as a program, this file saves and restores on eight CPU devices; the test reads what it saw.
"""

import json
import tempfile
from typing import Any

import jax
import numpy as np

from glober_jax.experiment.config import parse
from glober_jax.parallel import rules
from glober_jax.parallel.rules import tree_shardings
from glober_jax.training.checkpoint import StageCheckpoints
from glober_jax.training.restore import constant_shapes
from glober_jax.training.state import TrainState, new_state
from tests.eight_devices import on_eight_devices
from tests.tiny import mesh_of, single_level_config

STAGE, NETWORKS, STEP = "autoencoder", ("frame_features", "discriminator"), 7
SAVED_ON = (1, 8, 1)
RESTORED_ON = {"mixed": (2, 2, 2), "data": (8, 1, 1), "one": (1, 1, 1)}


def test_restored_on_other_devices() -> None:
    """Fails when an array's bits, its place on the new mesh or the data position are not kept.

    Parameters, averages, moments, counters and constants are random bits, NaN among them.
    """
    seen = on_eight_devices(__file__)
    assert seen["cut"] >= 4 and seen["mixed"]["cut"] >= 4
    for name in RESTORED_ON:
        del seen[name]["cut"]
        assert seen[name] == {"differing": [], "misplaced": [], "step": STEP}


def names(tree: Any, wanted: Any) -> list[str]:
    """Of the leaves for which `wanted` is true."""
    chosen = zip(jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(wanted), strict=True)
    return [jax.tree_util.keystr(path) for (path, _), yes in chosen if yes]


def cut(shardings: Any) -> int:
    return sum(not sharding.is_fully_replicated for sharding in jax.tree.leaves(shardings))


def save_and_restore(workdir: str) -> dict[str, Any]:
    experiment = parse(single_level_config())
    networks, mesh = experiment.networks, mesh_of(*SAVED_ON)
    optimizer = getattr(experiment, STAGE).optimizer.build(STEP)

    def create(constants: dict[str, Any]) -> TrainState:
        params = networks.init_all(NETWORKS, jax.random.key(0))
        return new_state(params, optimizer, NETWORKS, constants)

    rng = np.random.default_rng(0)

    def random_bits(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        data = rng.bytes(leaf.size * leaf.dtype.itemsize)
        return np.frombuffer(data, leaf.dtype).reshape(leaf.shape)

    abstract = jax.eval_shape(create, constant_shapes(networks, STAGE))
    there = jax.tree.map(random_bits, abstract).replace(step=np.int32(STEP))
    shardings = tree_shardings(abstract, mesh)
    with StageCheckpoints(workdir, STAGE, experiment.source) as checkpoints:
        checkpoints.save(STEP, jax.device_put(there, shardings))
    seen: dict[str, Any] = {"cut": cut(shardings)}
    for name, sizes in RESTORED_ON.items():
        shardings = tree_shardings(abstract, mesh_of(*sizes))
        with StageCheckpoints(workdir, STAGE, experiment.source) as checkpoints:
            state = checkpoints.restore(abstract, mesh_of(*sizes))
            step = checkpoints.latest_step
        here = jax.device_get(state)
        differing = jax.tree.map(lambda a, b: a.tobytes() != b.tobytes(), there, here)
        misplaced = jax.tree.map(
            lambda leaf, sharding: not leaf.sharding.is_equivalent_to(sharding, leaf.ndim),
            state,
            shardings,
        )
        seen[name] = {
            "differing": names(there, differing),
            "misplaced": names(there, misplaced),
            "step": step,
            "cut": cut(shardings),
        }
    return seen


if __name__ == "__main__":
    # The tiny parameters count as large.
    rules.MIN_SHARDED_SIZE = 512
    assert jax.device_count() == 8
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(save_and_restore(folder)))
