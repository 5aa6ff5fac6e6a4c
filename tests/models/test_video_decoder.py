"""Frame features: queries at the targets only are the published computation over all frames."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glober_jax.experiment.options import Experiment
from glober_jax.models.attention import TemporalAttention
from glober_jax.models.networks import AUTOENCODER, Networks, Params
from glober_jax.models.video_decoder import index_waves
from glober_jax.training.autoencoder import predict_frames

Features = Callable[[np.ndarray, np.ndarray], tuple[tuple[np.ndarray, ...], dict[str, Any]]]


@pytest.fixture(scope="module")
def frame_features(networks: Networks, params: Params) -> Features:
    """(feature, indices) -> (the maps of every level, what every block gave before exchange)."""

    @jax.jit
    def compute(feature: jax.Array, index: jax.Array) -> tuple[tuple[jax.Array, ...], dict]:
        variables = {"params": params["frame_features"]}
        maps, captured = networks.frame_features.apply(
            variables, feature, index, capture_intermediates=True
        )
        return maps, captured["intermediates"]

    return lambda *inputs: jax.device_get(compute(*inputs))


@pytest.fixture(scope="module")
def feature(networks: Networks) -> np.ndarray:
    shape = (2, *networks.global_shape)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / b.std())


def test_queries_at_targets_equal_the_full_computation(
    networks: Networks, params: Params, frame_features: Features, feature: np.ndarray
) -> None:
    """Fails when targets are normalised by other statistics than the grid's, or attend to anything
    but the whole grid.

    The full computation runs the exchange attention as plain self-attention over all frames of the
    grid and picks the targets afterwards.
    """
    grid = networks.frame_features.index_slots // 2
    picked = np.array([[0, 3, 7], [2, 5, 6]])
    maps, captured = frame_features(feature, np.float32(picked / grid))
    # The estimate comes last.
    assert len(maps) == len(networks.unet.multipliers) + 1
    for level, target_map in enumerate(maps[:-1]):
        (blocks,) = captured[f"level{level}"]["__call__"]
        exchange = TemporalAttention(
            networks.frame_features.head_dim, networks.frame_features.groups
        )
        weights = {"params": params["frame_features"][f"level{level}_exchange"]}
        full = np.asarray(exchange.apply(weights, blocks[:, :grid]))
        expected = np.take_along_axis(full, picked[:, :, None, None, None], axis=1)
        np.testing.assert_allclose(target_map, expected, rtol=1e-5, atol=1e-5)
        # Not because the exchange does nothing.
        assert distance(full, blocks[:, :grid]) > 0.1


def test_neighbouring_frames_differ_and_indices_are_continuous(
    frame_features: Features, feature: np.ndarray
) -> None:
    """Fails when an index is rounded to the grid, or embedded so slowly that frames look alike."""
    index = np.float32([[0.5, 0.5 + 1e-4, 0.5 + 1 / 16], [0.5, 0.5 + 1e-4, 0.5 + 1 / 32]])
    maps, _ = frame_features(feature, index)
    for level_map in maps:
        here, near, far = np.moveaxis(level_map, 1, 0)
        assert 0 < distance(near, here) < 0.01
        # One frame on, and half a frame on: both are frames of their own.
        assert distance(far[0], here[0]) > 0.1
        assert distance(far[1], here[1]) > 0.02


@pytest.mark.parametrize("slots", [2, 4, 16])
@pytest.mark.parametrize("count", [32, 320])
def test_training_frames_determine_every_wave_between_them(slots: int, count: int) -> None:
    """Fails when a wave is all but zero on the frames of a clip and not between them."""
    frames = np.asarray(index_waves(np.arange(slots) / slots, slots, count))
    between = np.asarray(index_waves(np.arange(4 * slots) / (4 * slots), slots, count))
    assert frames.shape == (slots, count)
    on_frames, everywhere = (np.sqrt(np.square(x).mean(axis=0)) for x in (frames, between))
    assert (on_frames > 0.5 * everywhere).all()
    # The waves do tell neighbouring frames apart.
    steps = np.linalg.norm(np.diff(frames, axis=0), axis=1) / np.linalg.norm(frames[0])
    assert (steps > 0.3).all()


def test_fresh_features_move_differently_for_every_clip(
    networks: Networks, feature: np.ndarray
) -> None:
    """Fails when an index only shifts all clips' features alike.

    At initialisation, of what tells two clips apart a good part must change over the clip.
    """
    index = np.tile(np.arange(16, dtype=np.float32) / 16, (2, 1))

    @jax.jit
    def maps() -> tuple[jax.Array, ...]:
        fresh = networks.init_all(("frame_features",), jax.random.key(0))
        return networks.apply(fresh, "frame_features", feature, index)

    for level_map in jax.device_get(maps()):
        between_clips = level_map[0] - level_map[1]
        changing = between_clips - between_clips.mean(axis=0)
        assert changing.std() > 0.3 * between_clips.std()


def test_a_target_does_not_depend_on_the_other_targets(
    frame_features: Features, feature: np.ndarray
) -> None:
    """Fails when targets exchange information among themselves: sub-clips would then differ."""
    several, _ = frame_features(feature, np.float32([[0.2, 0.7, 0.9]] * 2))
    others, _ = frame_features(feature, np.float32([[0.2, 0.1, 0.4]] * 2))
    for a, b in zip(several, others, strict=True):
        np.testing.assert_allclose(a[:, 0], b[:, 0], rtol=1e-5, atol=1e-5)
        assert distance(a[:, 1], b[:, 1]) > 0.1


def test_domain_tokens_are_left_out_where_they_are_switched_off(
    networks: Networks, params: Params, feature: np.ndarray
) -> None:
    """Fails when switching the domain off drops clip tokens too, or nothing."""
    tokens = jax.jit(lambda on: networks.apply(params, "global_tokens", feature, on))
    both, one = jax.device_get([tokens(np.array([True, last])) for last in (True, False)])
    assert both.shape == (2, np.prod(networks.global_shape[:2]) // 4, networks.global_tokens.width)
    np.testing.assert_array_equal(both[0], one[0])
    domain = params["global_tokens"]["domain"]
    np.testing.assert_allclose(both[1] - one[1], domain, rtol=1e-4, atol=1e-5)
    assert distance(one[0], one[1]) > 0.1


def test_a_fresh_network_predicts_the_estimate(small_experiment: Experiment) -> None:
    """Fails when the estimate does not reach the prediction, or is no function of the feature.

    The UNet's last layer is zero to begin with, so that the estimate is all there is.
    """
    networks = small_experiment.networks
    assert small_experiment.diffusion.prediction == "x0"
    index, shape = jnp.array([[0.1, 0.6], [0.2, 0.9]]), (2, 2, *networks.latent_shape)

    @jax.jit
    def compute() -> tuple[jax.Array, jax.Array]:
        params = networks.init_all(AUTOENCODER, jax.random.key(0))
        feature = jax.random.normal(jax.random.key(1), (2, *networks.global_shape))
        *_, estimate = networks.apply(params, "frame_features", feature, index)
        z_t, t = jax.random.normal(jax.random.key(2), shape), jnp.full((2, 2), 500)
        prediction = predict_frames(networks, params, z_t, t, feature, index, jnp.ones(2))
        return prediction, estimate

    prediction, estimate = jax.device_get(compute())
    np.testing.assert_allclose(prediction, estimate, atol=1e-5)
    assert np.abs(estimate[0] - estimate[1]).mean() > 1e-2
    assert np.abs(estimate[0, 0] - estimate[0, 1]).mean() > 1e-2


def test_the_estimate_begins_as_interpolation(small_experiment: Experiment) -> None:
    """Fails when fresh encoder and estimate do not give key frames back, or what lies between."""
    networks, clip = small_experiment.networks, small_experiment.clip
    shape = (2, clip.num_key_frames, *networks.latent_shape)
    keys = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    frames = np.arange(clip.num_frames)
    weights = np.stack([np.interp(frames, clip.key_positions, k) for k in np.eye(shape[1])], -1)
    index = np.tile(np.float32(frames / clip.num_frames), (2, 1))

    @jax.jit
    def estimate() -> jax.Array:
        params = networks.init_all(AUTOENCODER, jax.random.key(0))
        feature = networks.apply(params, "video_encoder", keys).mean
        return networks.apply(params, "frame_features", feature, index)[-1]

    wanted = np.einsum("fk,bkhwz->bfhwz", weights, keys)
    assert np.sqrt(np.square(estimate() - wanted).mean()) < 0.1 * wanted.std()


def test_heads_have_the_width_that_is_asked_for(small_experiment: Experiment) -> None:
    """Fails when `head_dim` is taken for the number of heads, or a level has other heads."""
    networks = small_experiment.networks
    inputs = jax.eval_shape(lambda: networks.example_inputs("unet"))
    params = networks.shapes(("unet",))["unet"]
    wide = networks.unet.channels
    assert set(networks.unet.multipliers) == {1}

    def program(**heads: int) -> str:
        unet = networks.unet.clone(**heads)
        return str(jax.make_jaxpr(lambda p, *x: unet.apply({"params": p}, *x))(params, *inputs))

    assert program(head_dim=wide // 4, heads=1) == program(head_dim=0, heads=4)
    assert program(head_dim=wide // 4) != program(head_dim=wide // 2)
