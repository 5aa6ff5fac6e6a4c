"""The codec's options that trade time for memory: other memory, the same numbers."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glober_jax.models.frame_codec import FrameCodec
from glober_jax.models.networks import Networks, Params

FRAMES = 12
OPTIONS = [
    {"remat": "blocks"},
    {"chunk_frames": 4},
    # No divisor of the frames: chunks of 4.
    {"chunk_frames": 5, "remat": "dots"},
]


@pytest.fixture(scope="module")
def frames(networks: Networks) -> np.ndarray:
    size = networks.frame_size
    return np.random.default_rng(0).uniform(-1, 1, (FRAMES, size, size, 3)).astype(np.float32)


def training_pass(codec: FrameCodec) -> Any:
    """(parameters, frames) -> loss, its gradient, moments."""

    def loss(p: Params, x: jax.Array) -> jax.Array:
        latents = (len(x), *(side // codec.factor for side in x.shape[1:3]), codec.latent_channels)
        noise = jax.random.normal(jax.random.key(0), latents)
        made, posterior = codec.apply({"params": p}, x, noise)
        return jnp.square(made - x).mean() + 1e-3 * posterior.kl().mean()

    def everything(p: Params, x: jax.Array) -> Any:
        value, gradient = jax.value_and_grad(loss)(p, x)
        return value, gradient, codec.apply({"params": p}, x, method="encode")

    return everything


@pytest.fixture(scope="module")
def plain(networks: Networks, params: Params, frames: np.ndarray) -> jax.stages.Compiled:
    """The pass without any of these options."""
    return compiled_pass(networks.frame_codec, params, frames)


def compiled_pass(codec: FrameCodec, params: Params, frames: np.ndarray) -> jax.stages.Compiled:
    return jax.jit(training_pass(codec)).lower(params["frame_codec"], frames).compile()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_memory_options_change_no_number(
    networks: Networks,
    params: Params,
    frames: np.ndarray,
    plain: jax.stages.Compiled,
    options: dict[str, Any],
) -> None:
    """Fails when a chunk's frames come out in another order, or parameters get other names."""
    codec = networks.frame_codec
    changed = dataclasses.replace(codec, **options)
    inputs = (params["frame_codec"], frames)
    there, here = plain(*inputs), compiled_pass(changed, params, frames)(*inputs)
    assert jax.tree.structure(here) == jax.tree.structure(there)
    for a, b in zip(*(jax.tree.leaves(tree) for tree in (here, there)), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)
    size = networks.frame_size
    example = (jax.random.key(0), jnp.zeros((1, size, size, 3)), 0.0)
    trees = [jax.eval_shape(each.init, *example) for each in (codec, changed)]
    assert jax.tree.structure(trees[0]) == jax.tree.structure(trees[1])


def test_chunks_bound_memory(
    networks: Networks, params: Params, frames: np.ndarray, plain: jax.stages.Compiled
) -> None:
    """Fails when all frames' activations are kept at once."""
    codec = dataclasses.replace(networks.frame_codec, chunk_frames=1)
    passes = compiled_pass(codec, params, frames), plain
    one, all_frames = (found.memory_analysis().temp_size_in_bytes for found in passes)
    assert one < 0.3 * all_frames
