"""The plain video model: whole clips are denoised together, by the same UNet otherwise."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glober_jax.ablations.plain_video import PlainVideoStage, clip_loss, predict_clips
from glober_jax.experiment.options import Experiment
from tests.tiny import mesh_of, perturbed, tiny_latent_scale


@pytest.fixture(scope="module")
def stage(small_experiment: Experiment) -> PlainVideoStage:
    """With two condition tokens: attention to a single one has nothing to choose."""
    networks = small_experiment.networks
    networks = dataclasses.replace(networks, condition=networks.condition.clone(length=2))
    return PlainVideoStage.of(dataclasses.replace(small_experiment, networks=networks), mesh_of())


@pytest.fixture(scope="module")
def params(stage: PlainVideoStage, small_experiment: Experiment) -> dict[str, Any]:
    """Random, none of them zero."""
    constants = {"latent_scale": tiny_latent_scale(small_experiment)}
    shapes = jax.eval_shape(stage.create, constants).params
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    return perturbed(zeros, jax.random.key(0), scale=0.3)


def test_frames_attend_to_each_other_and_every_parameter_learns(
    stage: PlainVideoStage, params: dict[str, Any]
) -> None:
    """Fails when frames are denoised apart, clips mix, frames do not know their place, or a
    parameter gets no gradient (broken: clips and frames swapped in the UNet; no place).
    """
    frames, clips = stage.networks.unet.clip_frames, 2
    shape = (clips, frames, *stage.networks.latent_shape)
    z0, eps = (jax.random.normal(jax.random.key(n), shape) for n in range(2))
    t_B, labels = jnp.array([300, 700]), jnp.array([0, 3])

    @jax.jit
    def predict(z_t: jax.Array) -> jax.Array:
        context = stage.networks.apply(params, "condition", labels, jnp.ones(clips))
        return predict_clips(stage.networks, params, z_t, t_B, context)

    before, after = predict(z0), predict(z0.at[0, 0].add(1.0))
    moved_BT = np.abs(after - before).max((2, 3, 4))
    assert (moved_BT[0] > 1e-4 * np.std(before)).all() and not moved_BT[1].any()
    same = predict(jnp.broadcast_to(z0[:, :1], shape))
    assert np.abs(same[:, 1:] - same[:, :-1]).max((0, 2, 3, 4)).min() > 1e-4 * np.std(before)

    loss = jax.jit(jax.grad(clip_loss, 2), static_argnums=(0, 1))
    gradients = loss(
        stage.networks, stage.process, params, z0, t_B, eps, labels, jnp.array([1.0, 1.0])
    )
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.abs(leaf).max() > 0, jax.tree_util.keystr(path)


def test_the_unet_differs_by_what_lets_frames_attend(
    stage: PlainVideoStage, params: dict[str, Any], small_experiment: Experiment
) -> None:
    """Fails when the product's UNet gets parameters of the comparison, or that another UNet."""
    own = small_experiment.networks.shapes(("unet",))["unet"]
    shared = {name: tree for name, tree in params["unet"].items() if name in own}
    assert jax.tree.map(jnp.shape, shared) == jax.tree.map(jnp.shape, own)
    blocks = {name for name in own if "_block" in name and "attention" not in name}
    added = params["unet"].keys() - own.keys()
    assert added == {"place_in", "place_out", *(f"{name}_exchange" for name in blocks)}
