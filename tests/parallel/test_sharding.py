"""Eight devices train as one does.

Run as a program, this file trains two steps on eight CPU devices in several meshes and prints what
it saw; the tests read that.
"""

import json
import tempfile
from typing import Any

import flax.traverse_util
import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

from glober_jax.config import parse
from glober_jax.errors import UserError
from glober_jax.parallel import rules
from glober_jax.parallel.mesh import check_batch, put_batch
from glober_jax.parallel.rules import parameter_spec, tree_shardings
from glober_jax.training.autoencoder import NETWORKS, AutoencoderStage
from glober_jax.training.initial import start_from_files, write_initial
from glober_jax.training.loop import Preview, Stage, compile_programs
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
# The tiny parameters count as large in the program.
SMALL_THRESHOLD = 512


def abstract_mesh(data: int, fsdp: int, tensor: int) -> AbstractMesh:
    return AbstractMesh((data, fsdp, tensor), ("data", "fsdp", "tensor"))


@pytest.mark.parametrize(
    ("shape", "sizes", "spec"),
    [
        ((255, 256), (2, 4, 1), ()),
        ((256, 256), (8, 1, 1), (None, None)),
        ((3, 3, 128, 320), (2, 4, 1), (None, None, None, "fsdp")),
        ((3, 3, 640, 320), (2, 4, 1), (None, None, "fsdp", None)),
        ((3, 3, 128, 320), (2, 2, 2), (None, None, "fsdp", "tensor")),
        ((1024, 101), (1, 4, 2), ("fsdp", None)),
        ((257, 257), (1, 4, 2), (None, None)),
    ],
)
def test_parameters_are_sharded_by_the_rule(
    shape: tuple[int, ...], sizes: tuple[int, int, int], spec: tuple[str | None, ...]
) -> None:
    """Fails when a small array is cut, or a large one is not (broken: all are replicated)."""
    assert parameter_spec(
        "block0/conv_in/conv/kernel", shape, abstract_mesh(*sizes)
    ) == PartitionSpec(*spec)


def test_batches_that_do_not_divide_are_refused() -> None:
    """Fails when the tensor axis counts as a batch axis, or the message lacks the numbers."""
    check_batch(abstract_mesh(2, 2, 2), 12, "config.codec.batch_size")
    with pytest.raises(UserError, match=r"batch_size=12 .* 2 x 4 = 8"):
        check_batch(abstract_mesh(2, 4, 1), 12, "config.codec.batch_size")


@pytest.fixture(scope="module")
def runs() -> dict[str, Any]:
    """What the program below saw, by mesh."""
    return on_eight_devices(__file__)


@pytest.mark.parametrize("name", ["fsdp", "tensor"])
def test_eight_devices_give_the_numbers_of_one(runs: dict[str, Any], name: str) -> None:
    """Fails when a loss is summed and not averaged over shards, or random numbers go by device.

    Both steps run the adversary; the second sees parameters that the first has updated. The UNet
    of the eight is read from the file that a conversion leaves. Broken: the gradient's
    reduce-scatter doubled; every device given the first rows of the file's arrays.
    """
    for one, eight in zip(runs["one"]["metrics"], runs[name]["metrics"], strict=True):
        assert one.keys() == eight.keys() and "discriminator_loss" in one
        np.testing.assert_allclose(
            [eight[key] for key in one], list(one.values()), rtol=1e-4, err_msg=str(list(one))
        )
    # The steps did something.
    first, _ = runs["one"]["metrics"]
    assert runs["one"]["smallest_move"] > 1e-6
    assert first["grad_norm_discriminator"] > 0 and first["grad_norm_unet"] > 0


def test_large_parameters_and_moments_lie_in_shards(runs: dict[str, Any]) -> None:
    """Fails when the step takes or returns state that lies whole on every device."""
    for name in ("fsdp", "tensor"):
        largest, of_device = runs[name]["largest"], runs[name]["largest_on_device"]
        assert of_device * 4 == largest
        # All but what is small or does not divide: each device holds little more than its share.
        assert runs[name]["device_fraction"] < 0.4
    assert runs["one"]["device_fraction"] == 1.0


def test_old_state_is_donated_and_the_codec_is_kept(runs: dict[str, Any]) -> None:
    """Fails when the step holds two states at once, or gives away parameters still needed."""
    for run in runs.values():
        assert run["donated"] and run["codec_kept"]


def train(sizes: tuple[int, int, int]) -> dict[str, Any]:
    """Two steps on the first devices; metrics and where things lay."""
    config = single_level_config()
    config.autoencoder.adversarial.update({"start_step": 0, "warmup_steps": 0, "clip_stride": 2})
    # Small steps from the start: Adam turns the rounding of a tiny gradient into a whole step.
    config.autoencoder.optimizer.update({"warmup_steps": 0, "learning_rate": 1e-4})
    experiment = parse(config)
    networks = experiment.networks
    mesh = mesh_of(*sizes)
    definition = AutoencoderStage(
        networks, experiment.diffusion, experiment.autoencoder, experiment.seed, mesh
    )
    constants = {"latent_scale": tiny_latent_scale(experiment)}
    drawn = drawn_params(networks, (*NETWORKS, "frame_codec"))
    codec = {"frame_codec": drawn.pop("frame_codec")}
    stage = Stage(
        name="autoencoder",
        total_steps=2,
        create=definition.create,
        measure=dict,
        constant_shapes=constants,
        programs=definition.programs(),
        frozen=codec,
        batches=lambda start: iter(()),
        preview=lambda state: Preview({}, {}),
    )
    program = compile_programs(stage, mesh)(0)
    shardings = tree_shardings(jax.eval_shape(stage.create, constants), mesh)
    zeros = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(stage.create, constants)
    )
    drawn = jax.device_get(drawn)
    averaged = {name: jax.tree.map(np.copy, drawn[name]) for name in zeros.ema}
    from_files = ("unet",) if mesh.size > 1 else ()
    own = {name: tree for name, tree in drawn.items() if name not in from_files}
    state = zeros.replace(params=zeros.params | own, ema=zeros.ema | averaged, constants=constants)
    state = jax.device_put(state, shardings)
    # On several devices the UNet comes as from a conversion.
    with tempfile.TemporaryDirectory() as workdir:
        for name in from_files:
            write_initial(workdir, name, flax.traverse_util.flatten_dict(drawn[name], sep="/"))
        state = start_from_files(state, stage.name, workdir, mesh)
    frozen = jax.device_put(codec, tree_shardings(codec, mesh))
    seen: list[dict[str, float]] = []
    donated = True
    for step in range(2):
        batch = put_batch(with_moments(tiny_batch(experiment, step), experiment), mesh)
        old = jax.tree.leaves((state.params, state.ema, state.opt_state))
        state, metrics = program(state, frozen, batch)
        donated &= all(leaf.is_deleted() for leaf in old)
        seen.append({name: float(value) for name, value in jax.device_get(metrics).items()})
    leaves = jax.tree.leaves((state.params, state.ema, state.opt_state))
    assert all(isinstance(leaf.sharding, NamedSharding) for leaf in leaves)
    on_device = [int(np.prod(leaf.sharding.shard_shape(leaf.shape))) for leaf in leaves]
    largest = int(np.argmax([leaf.size for leaf in leaves]))
    kept = jax.tree.map(np.array_equal, jax.device_get(frozen), jax.device_get(codec))
    moves = {
        name: max(np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, trees), strict=True))
        for name in NETWORKS
        for trees in [(jax.device_get(state.params[name]), drawn[name])]
    }
    return {
        "metrics": seen,
        "smallest_move": float(min(moves.values())),
        "largest": leaves[largest].size,
        "largest_on_device": on_device[largest],
        "device_fraction": sum(on_device) / sum(leaf.size for leaf in leaves),
        "donated": donated,
        "codec_kept": all(jax.tree.leaves(kept)),
    }


if __name__ == "__main__":
    rules.MIN_SHARDED_SIZE = SMALL_THRESHOLD
    assert jax.device_count() == 8
    print(json.dumps({name: train(sizes) for name, sizes in MESHES.items()}))
