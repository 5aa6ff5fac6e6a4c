"""Eight devices train as one does, and restore what was saved on other meshes.

Run as a program, this file trains two steps on eight CPU devices in several meshes, restores a
checkpoint and prints what it saw; the tests read that.
"""

import json
import re
import tempfile
from typing import Any

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from jax.sharding import NamedSharding

from glober_jax.experiment.config import parse
from glober_jax.experiment.stages import abstract_stage
from glober_jax.models.latents import ChannelScale
from glober_jax.parallel import rules
from glober_jax.parallel.mesh import batch_sharding, put_batch, replicated
from glober_jax.parallel.rules import tree_shardings
from glober_jax.sampling.decode import FrameModel
from glober_jax.training.checkpoint import StageCheckpoints
from glober_jax.training.gradient_accumulation import accumulate_gradients
from glober_jax.training.init_from_pretrained import init_from_pretrained, write_pretrained
from glober_jax.training.loop import jit_program
from tests.eight_devices import on_eight_devices
from tests.tiny import (
    drawn_params,
    mesh_of,
    single_level_config,
    tiny_batch,
    tiny_latent_scale,
    with_moments,
)

MESHES = {"one": (1, 1, 1), "fsdp": (2, 4, 1), "tensor": (2, 2, 2)}
# (stage, mesh): what is trained.
RUNS = [("autoencoder", name) for name in MESHES] + [("generator", n) for n in ("one", "tensor")]
SAVED_ON = (1, 8, 1)
RESTORED_ON = {"mixed": (2, 2, 2), "data": (8, 1, 1), "one": (1, 1, 1)}


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    """What the program below saw."""
    return on_eight_devices(__file__)


@pytest.mark.parametrize(("stage", "name"), [run for run in RUNS if run[1] != "one"])
def test_eight_devices_give_the_numbers_of_one(seen: dict[str, Any], stage: str, name: str) -> None:
    """Fails when a loss is summed and not averaged over shards, or random numbers go by device.

    Both autoencoder steps run the adversary; the second step sees parameters that the first has
    updated. The UNet of the eight is read from the file that a conversion leaves.
    """
    of_one, of_eight = seen["runs"][f"{stage} one"], seen["runs"][f"{stage} {name}"]
    for one, eight in zip(of_one["metrics"], of_eight["metrics"], strict=True):
        assert one.keys() == eight.keys()
        np.testing.assert_allclose(
            [eight[key] for key in one], list(one.values()), rtol=1e-4, err_msg=str(list(one))
        )
    # The steps did something.
    assert of_one["smallest_move"] > 1e-6
    first, _ = of_one["metrics"]
    assert all(value > 0 for key, value in first.items() if key.startswith("grad_norm"))
    assert stage == "generator" or "discriminator_loss" in first


def test_a_step_holds_and_moves_no_more_than_it_has_to(seen: dict[str, Any]) -> None:
    """Fails when state lies whole on every device, two states at once are held, frozen parameters
    are given away, or maps go from device to device where parameters should.
    """
    for (name, mesh), run in zip(RUNS, seen["runs"].values(), strict=True):
        assert run["donated"] and run["frozen_kept"] and run["all_to_alls"] == 0
        if mesh == "one":
            assert run["device_fraction"] == 1.0
            continue
        assert run["largest_on_device"] * 4 == run["largest"]
        # All but what is small, does not divide or is not cut over `tensor`: each device holds
        # little more than its share.
        assert run["device_fraction"] < {"autoencoder": 0.4, "generator": 0.45}[name]


def test_parameters_travel_in_the_type_that_is_computed_in(seen: dict[str, Any]) -> None:
    """Fails when float32 parameters are gathered and cast after, twice the bytes.

    Read from the joint step before XLA partitions it: on CPUs XLA has no collectives in bfloat16.
    """
    assert len(seen["gathered_types"]) > 50
    assert set(seen["gathered_types"]) == {"bf16"}


def test_restored_on_other_devices(seen: dict[str, Any]) -> None:
    """Fails when an array's bits, or its place on the new mesh, are not kept.

    Parameters, averages, moments, counters and constants are random bits, NaN among them.
    """
    assert seen["restored"].keys() == RESTORED_ON.keys()
    for name, run in seen["restored"].items():
        assert run["wrong"] == []
        assert run["cut"] >= 4 * (name == "mixed")


def test_micro_batches_move_no_row_between_devices(seen: dict[str, Any]) -> None:
    """Fails when rows are sent around, or every second row of a part is not one of the whole."""
    run = seen["micro_batches"]
    whole = np.asarray(run["rows"])[::2].mean(axis=0)
    np.testing.assert_allclose(run["mean_of_every_second"], whole, rtol=1e-5, atol=1e-6)
    assert run["moved_by"] == [] and run["summed"]


def train(name: str, sizes: tuple[int, int, int]) -> dict[str, Any]:
    """Two steps of a stage on the first devices; metrics and where things lay."""
    config = single_level_config()
    # Every second clip is judged: one on each device.
    config.autoencoder.batch_size = 16
    config.autoencoder.adversarial.update({"start_step": 0, "warmup_steps": 0, "clip_stride": 2})
    # Small steps from the start: Adam turns the rounding of a tiny gradient into a whole step.
    for stage_name in ("autoencoder", "generator"):
        config[stage_name].optimizer.update({"warmup_steps": 0, "learning_rate": 1e-4})
    experiment = parse(config)
    mesh = mesh_of(*sizes)
    stage = abstract_stage(experiment, name, mesh)
    (constant,) = stage.state.constants
    frozen_names = stage.frozen if name == "autoencoder" else stage.frozen.params
    drawn = jax.device_get(drawn_params(experiment.networks, (*stage.state.params, *frozen_names)))
    frozen = {network: drawn.pop(network) for network in frozen_names}
    frozen = frozen if name == "autoencoder" else FrameModel(frozen, tiny_latent_scale(experiment))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), stage.state)
    averaged = {network: jax.tree.map(np.copy, drawn[network]) for network in zeros.ema}
    from_files = {"unet"} & drawn.keys() if mesh.size > 1 else set()
    own = {network: tree for network, tree in drawn.items() if network not in from_files}
    channels = jax.tree.leaves(stage.state.constants)[0].size
    constants = {constant: ChannelScale(np.zeros(channels), np.ones(channels))}
    state = zeros.replace(params=zeros.params | own, ema=zeros.ema | averaged, constants=constants)
    state = jax.device_put(state, tree_shardings(stage.state, mesh))
    # On several devices the UNet comes as from a conversion.
    with tempfile.TemporaryDirectory() as workdir:
        for network in from_files:
            write_pretrained(workdir, network, flatten_dict(drawn[network], sep="/"))
        state = init_from_pretrained(state, name, workdir, mesh)
    placed = jax.device_put(frozen, tree_shardings(frozen, mesh))

    def batch_of(step: int) -> dict[str, jax.Array]:
        batch = with_moments(tiny_batch(experiment, step), experiment)
        return put_batch({field: batch[field] for field in stage.batch}, mesh)

    _, program = stage.programs[-1]
    jitted = jit_program(program, stage.state, stage.frozen, mesh)
    compiled = jitted.lower(state, placed, batch_of(0)).compile()
    seen: list[dict[str, float]] = []
    donated = True
    for step in range(2):
        old = jax.tree.leaves((state.params, state.ema, state.opt_state))
        state, metrics = compiled(state, placed, batch_of(step))
        donated &= all(leaf.is_deleted() for leaf in old)
        seen.append({name: float(value) for name, value in jax.device_get(metrics).items()})
    leaves = jax.tree.leaves((state.params, state.ema, state.opt_state))
    assert all(isinstance(leaf.sharding, NamedSharding) for leaf in leaves)
    on_device = [int(np.prod(leaf.sharding.shard_shape(leaf.shape))) for leaf in leaves]
    largest = int(np.argmax([leaf.size for leaf in leaves]))
    kept = jax.tree.map(np.array_equal, jax.device_get(placed), jax.device_get(frozen))
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), jax.device_get(state.params), drawn)
    moves = [max(jax.tree.leaves(moved[network])) for network in drawn]
    return {
        "metrics": seen,
        "smallest_move": float(min(moves)),
        "largest": leaves[largest].size,
        "largest_on_device": on_device[largest],
        "device_fraction": sum(on_device) / sum(leaf.size for leaf in leaves),
        "donated": donated,
        "frozen_kept": all(jax.tree.leaves(kept)),
        "all_to_alls": compiled.as_text().count(" all-to-all("),
    }


def types_of_gathered() -> list[str]:
    """Of every parameter in shards that the bfloat16 joint step makes whole."""
    config = single_level_config()
    config.dtype = "bfloat16"
    config.autoencoder.batch_size = 16
    experiment, mesh = parse(config), mesh_of(*MESHES["fsdp"])
    stage = abstract_stage(experiment, "autoencoder", mesh)
    _, program = stage.programs[-1]
    jitted = jit_program(program, stage.state, stage.frozen, mesh)
    lowered = jitted.trace(stage.state, stage.frozen, stage.batch).lower().as_text()
    whole = r"sharding_constraint .*, \[(?:\{\}, )*\{\}\]> : tensor<((?:\d+x)*)(\w+)>"
    params = (stage.state.params, stage.frozen)
    shardings = jax.tree.leaves(tree_shardings(params, mesh))
    in_shards = {
        "".join(f"{size}x" for size in leaf.shape)
        for leaf, sharding in zip(jax.tree.leaves(params), shardings, strict=True)
        if "fsdp" in sharding.spec
    }
    return [dtype for shape, dtype in re.findall(whole, lowered) if shape in in_shards]


def save_and_restore() -> dict[str, Any]:
    """A state of random bits, saved on one mesh: what is wrong with it on others."""
    experiment, stage, rng = parse(single_level_config()), "generator", np.random.default_rng(0)
    abstract = abstract_stage(experiment, stage, mesh_of()).state

    def random_bits(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        data = rng.bytes(leaf.size * leaf.dtype.itemsize)
        return np.frombuffer(data, leaf.dtype).reshape(leaf.shape)

    saved = jax.tree.map(random_bits, abstract)
    found = {}
    with tempfile.TemporaryDirectory() as workdir:
        with StageCheckpoints(workdir, stage, experiment.source) as checkpoints:
            shardings = tree_shardings(abstract, mesh_of(*SAVED_ON))
            checkpoints.save(7, jax.device_put(saved, shardings))
        for name, sizes in RESTORED_ON.items():
            with StageCheckpoints(workdir, stage, experiment.source) as checkpoints:
                restored = checkpoints.restore(abstract, mesh_of(*sizes))
            leaves = jax.tree_util.tree_leaves_with_path(restored)
            shardings = jax.tree.leaves(tree_shardings(abstract, mesh_of(*sizes)))
            wrong = [
                jax.tree_util.keystr(path)
                for (path, leaf), there, sharding in zip(
                    leaves, jax.tree.leaves(saved), shardings, strict=True
                )
                if np.asarray(leaf).tobytes() != there.tobytes()
                or not leaf.sharding.is_equivalent_to(sharding, leaf.ndim)
            ]
            cut = sum(not leaf.is_fully_replicated for _, leaf in leaves)
            found[name] = {"wrong": wrong, "cut": cut}
    return found


def accumulate() -> dict[str, Any]:
    """The mean of every second row, in two micro-batches."""
    mesh = mesh_of(4, 2, 1)
    rows = np.random.default_rng(0).standard_normal((32, 3)).astype(np.float32)

    def every_second(rows: jax.Array) -> jax.Array:
        return accumulate_gradients(lambda part: part[::2].mean(axis=0), rows, 2, mesh)

    spread = batch_sharding(mesh)
    jitted = jax.jit(every_second, in_shardings=spread, out_shardings=replicated(mesh))
    compiled = jitted.lower(rows).compile()
    movers = ("all-to-all", "collective-permute", "all-gather")
    return {
        "rows": rows.tolist(),
        "mean_of_every_second": compiled(jax.device_put(rows, spread)).tolist(),
        "moved_by": [name for name in movers if name in compiled.as_text()],
        "summed": "all-reduce" in compiled.as_text(),
    }


if __name__ == "__main__":
    # The tiny parameters count as large.
    rules.MIN_SHARDED_SIZE = 512
    assert jax.device_count() == 8
    result = {
        "runs": {f"{name} {mesh}": train(name, MESHES[mesh]) for name, mesh in RUNS},
        "gathered_types": types_of_gathered(),
        "restored": save_and_restore(),
        "micro_batches": accumulate(),
    }
    print(json.dumps(result))
