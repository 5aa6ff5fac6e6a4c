"""What networks keep for their gradient: other memory, the same numbers."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glober_jax.experiment.options import Experiment
from glober_jax.models.layers import Remat
from glober_jax.models.networks import Networks, Params
from glober_jax.sampling.decode import FrameModel

WITH_BLOCKS = (
    "frame_codec",
    "video_encoder",
    "frame_features",
    "unet",
    "discriminator",
    "generator",
)


def loss_of(networks: Networks, name: str, remat: Remat) -> Callable[..., jax.Array]:
    """(parameters of the network, its inputs) -> mean square of what it makes of them."""
    network = dataclasses.replace(getattr(networks, name), remat=remat)

    def loss(params: Params, *inputs: jax.Array) -> jax.Array:
        outputs = jax.tree.leaves(network.apply({"params": params}, *inputs))
        return sum(jnp.square(out).mean() for out in outputs)

    return loss


def kept(experiment: Experiment, model: FrameModel, name: str, remat: Remat) -> int:
    """Numbers kept for the gradient of a network's parameters, besides the parameters.

    Counted before compilation, because XLA's CPU backend undoes rematerialisation. A pull-back is
    a pytree of what it keeps.
    """
    loss, params = loss_of(experiment.networks, name, remat), model.params[name]
    inputs = experiment.networks.example_inputs(name)
    pullback = jax.eval_shape(lambda p: jax.vjp(loss, p, *inputs)[1], params)
    sizes = [sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in (pullback, params)]
    return sizes[0] - sizes[1]


@pytest.mark.parametrize("name", WITH_BLOCKS)
def test_blocks_keep_their_inputs_alone(
    small_experiment: Experiment, small_model: FrameModel, name: str
) -> None:
    """Fails when a network does not hand its policy to its blocks."""
    blocks, everything = (
        kept(small_experiment, small_model, name, remat) for remat in ("blocks", "none")
    )
    assert blocks < 0.4 * everything


def test_dots_keep_what_layers_give(small_experiment: Experiment, small_model: FrameModel) -> None:
    """Fails when the policy keeps all or nothing, or a block is recomputed from other inputs.

    The generator is all dense layers; that convolutions count is told by the discriminator, whose
    blocks without attention have nothing else that is kept.
    """
    for name in ("generator", "discriminator"):
        few, some, all_ = (
            kept(small_experiment, small_model, name, remat) for remat in ("blocks", "dots", "none")
        )
        assert 1.2 * few < some < 0.8 * all_
    networks, params = small_experiment.networks, small_model.params["generator"]
    inputs = [x + 1 for x in networks.example_inputs("generator")]
    plain, dots = (
        jax.jit(jax.grad(loss_of(networks, "generator", remat)))(params, *inputs)
        for remat in ("none", "dots")
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), plain, dots)
