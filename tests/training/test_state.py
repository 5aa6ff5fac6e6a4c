"""Optimizers by group, their schedules, and the moving average."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from glober_jax.training.state import OptimizerOptions, by_network, gradient_norms, new_state


def test_average_follows_with_a_warmed_up_decay() -> None:
    """Fails when the average starts at full decay, averages a network it should not, or shares a
    buffer with the parameters, which a donated state may not.
    """
    params = {"unet": {"w": jnp.float32(2.0)}, "discriminator": {"w": jnp.float32(5.0)}}
    optimizer = optax.sgd(1.0)
    state = new_state(params, optimizer, ("unet",), {})
    kept, averaged = (tree["unet"]["w"].unsafe_buffer_pointer() for tree in (params, state.ema))
    assert kept != averaged
    average, value = 2.0, 2.0
    gradients = jax.tree.map(jnp.ones_like, params)
    for step in range(4):
        state, _ = state.apply_if_finite(gradients, {}, optimizer, ema_decay=0.3)
        value -= 1.0
        decay = min(0.3, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * value
        assert float(state.ema["unet"]["w"]) == pytest.approx(average, rel=1e-5)
    assert int(state.step) == 4
    assert set(state.ema) == {"unet"}


def test_groups_are_clipped_by_their_own_norm() -> None:
    """Fails when one group's large gradient shrinks another group's step.

    Plain SGD behind the clipping shows the clipped gradient itself.
    """
    params = {"encoder": jnp.zeros(1), "unet": jnp.zeros(1), "discriminator": jnp.zeros(1)}
    gradients = {"encoder": jnp.float32([3.0]), "unet": jnp.float32([4.0])}
    gradients["discriminator"] = jnp.float32([1000.0])
    clipped = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0))
    groups = {"encoder": "autoencoder", "unet": "autoencoder", "discriminator": "discriminator"}
    optimizer = by_network({"autoencoder": clipped, "discriminator": clipped}, groups)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    moved = {name: -float(update[0]) for name, update in updates.items()}
    assert moved == pytest.approx({"encoder": 0.6, "unet": 0.8, "discriminator": 1.0}, rel=1e-5)
    norms = {name: float(norm) for name, norm in gradient_norms(gradients).items()}
    assert norms["grad_norm_discriminator"] == pytest.approx(1000.0)


@pytest.mark.parametrize(
    ("options", "rates"),
    [
        (OptimizerOptions(learning_rate=1.0), {0: 1.0, 5: 1.0, 100: 1.0}),
        (
            OptimizerOptions(learning_rate=1.0, warmup_steps=10),
            {0: 0.1, 4: 0.5, 9: 1.0, 10: 1.0, 100: 1.0},
        ),
        (
            OptimizerOptions("adamw", 1.0, 10, "cosine"),
            {0: 0.1, 4: 0.5, 9: 1.0, 10: 1.0, 55: 0.5, 100: 0.0},
        ),
        (OptimizerOptions("adamw", 1.0, 200, "cosine"), {0: 0.005, 99: 0.5}),
        (OptimizerOptions("adamw", 1.0, 0, "cosine"), {0: 1.0, 50: 0.5, 100: 0.0}),
    ],
)
def test_learning_rate_warms_up_and_decays(
    options: OptimizerOptions, rates: dict[int, float]
) -> None:
    """Fails when the warm-up begins at zero (as before: the first step was none), does not end at
    the full rate, or the cosine does not reach zero.
    """
    schedule = options.schedule(total_steps=100)
    assert {step: float(schedule(step)) for step in rates} == pytest.approx(rates, abs=1e-6)


def test_only_kernels_decay() -> None:
    """Fails when norms, biases or learned tokens decay, or a kernel does not.

    Also behind the split by network, where another group's leaves are masked.
    """
    net = {
        "conv": {"kernel": jnp.ones((3, 3, 2, 4)), "bias": jnp.ones(4)},
        "norm": {"scale": jnp.ones(4), "kernel": jnp.ones(4)},
        "tokens": jnp.ones((4, 5)),
    }
    params = {"unet": net, "discriminator": net}
    adamw = OptimizerOptions(learning_rate=0.1, weight_decay=0.5).build(10)
    optimizer = by_network({"a": adamw, "b": adamw}, {"unet": "a", "discriminator": "b"})
    gradients = jax.tree.map(jnp.zeros_like, params)
    updates, _ = jax.jit(optimizer.update)(gradients, optimizer.init(params), params)
    for update in updates.values():
        np.testing.assert_allclose(update["conv"].pop("kernel"), -0.05, rtol=1e-6)
        assert not any(leaf.any() for leaf in jax.tree.leaves(update))


def test_muon_orthogonalises_the_kernels_of_blocks_alone() -> None:
    """Fails when a convolution is not read as one matrix, or layers outside of blocks are taken."""
    block = {"conv": {"kernel": jnp.zeros((3, 3, 8, 16)), "bias": jnp.zeros(16)}}
    params = {"net": {"block0": block, "out": {"kernel": jnp.zeros((8, 4))}}}
    optimizer = OptimizerOptions("muon", 0.1, weight_decay=0.0).build(10)
    gradients = jax.tree.map(
        lambda leaf: jax.random.normal(jax.random.key(leaf.size), leaf.shape), params
    )
    updates, _ = jax.jit(optimizer.update)(gradients, optimizer.init(params), params)
    conv = np.asarray(updates["net"]["block0"]["conv"]["kernel"])
    singular = np.linalg.svd(conv.reshape(72, 16), compute_uv=False)
    assert singular.max() < 1.8 * singular.min()
    np.testing.assert_allclose(np.sqrt((conv**2).mean()), 0.1 * 0.2, rtol=0.2)
    # Adam's first step has one size for all, with Nesterov's momentum half as much again.
    for other in (updates["net"]["block0"]["conv"]["bias"], updates["net"]["out"]["kernel"]):
        np.testing.assert_allclose(np.abs(other), 0.147, rtol=0.01)


@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
def test_clip_norm_zero_does_not_clip(clip_norm: float) -> None:
    """Fails when switching clipping off makes every gradient zero instead."""
    params = {"w": jnp.zeros(2)}
    optimizer = OptimizerOptions(learning_rate=0.1, weight_decay=0.0, clip_norm=clip_norm).build(10)
    updates, _ = optimizer.update({"w": jnp.full(2, 50.0)}, optimizer.init(params), params)
    np.testing.assert_allclose(updates["w"], -0.1, rtol=1e-4)
