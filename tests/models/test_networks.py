"""Published sizes, every config's networks, and what each network's output depends on."""

import importlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glober_jax.config import parse
from glober_jax.models.networks import Networks, Params

# Section 2 of the reference; the codec is encoder + decoder, tokens are projector + domain tokens.
PUBLISHED = {
    "video_encoder": 28_377_856,
    "frame_features": 47_449_408,
    "unet": 859_520_964,
    "global_tokens": 5_912_064 + 49_152,
    "discriminator": 8_312_641,
    "frame_codec": 34_163_664 + 49_490_199,
}
PUBLISHED_GENERATOR = 674_843_920
CONFIGS = [
    ("quickstart", ""),
    ("skytimelapse", "runlocal"),
    ("video_folder", ""),
    ("video_folder", "gpu"),
]


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def difference(a: jax.Array, b: jax.Array) -> float:
    """Largest difference, in units of the first one's deviation."""
    return float(jnp.abs(a - b).max() / a.std())


def test_paper_scale_has_the_published_parameter_counts() -> None:
    """Fails when a layer is missing, of another width, or has a bias too many."""
    config = importlib.import_module("configs.skytimelapse").get_config()
    counts = parse(config).networks.count_parameters()
    generator = counts.pop("generator")
    assert counts == PUBLISHED
    # Ours has no context tokens and does not count the fixed positions.
    assert abs(generator / PUBLISHED_GENERATOR - 1) < 0.02


@pytest.mark.parametrize(("name", "argument"), CONFIGS)
def test_every_config_parses_and_its_networks_build(name: str, argument: str) -> None:
    """Fails when a config does not match the code, or its sizes do not fit together."""
    config = importlib.import_module(f"configs.{name}").get_config(argument)
    counts = parse(config).networks.count_parameters()
    assert min(counts.values()) > 0


@pytest.fixture(scope="module")
def unet(networks: Networks, params: Params) -> Callable[..., jax.Array]:
    return jax.jit(lambda *inputs: networks.apply(params, "unet", *inputs))


def unet_inputs(networks: Networks) -> list[object]:
    (side, _, channels), width = networks.latent_shape, networks.unet.channels
    tokens = (networks.global_shape[0] // 2) ** 2
    return [
        normal(0, 2, side, side, channels),
        jnp.array([100, 100]),
        normal(1, 2, tokens, networks.global_tokens.width),
        [normal(2 + level, 2, side >> level, side >> level, width) for level in range(2)],
    ]


def test_unet_depends_on_step_tokens_and_the_features_of_every_level(
    networks: Networks, unet: Callable[..., jax.Array]
) -> None:
    """Fails when an input is not wired in (broken: level 1's features, cross-attention to x)."""
    inputs = unet_inputs(networks)
    out = unet(*inputs)
    latents, steps, tokens, features = inputs
    assert out.shape == latents.shape and out.dtype == jnp.float32
    assert difference(out, unet(latents, steps + 400, tokens, features)) > 0.05
    assert difference(out, unet(latents, steps, tokens[::-1], features)) > 0.01
    for level in range(len(features)):
        changed = [f + 1.0 * (i == level) for i, f in enumerate(features)]
        assert difference(out, unet(latents, steps, tokens, changed)) > 0.05


def test_unet_treats_every_frame_by_itself(
    networks: Networks, unet: Callable[..., jax.Array]
) -> None:
    """Fails when a frame's prediction depends on another's step, tokens or pixels."""
    latents, steps, tokens, features = unet_inputs(networks)
    out = unet(latents, steps, tokens, features)
    other = unet(
        latents.at[1].add(1.0),
        steps.at[1].set(7),
        tokens.at[1].add(1.0),
        [f.at[1].add(1.0) for f in features],
    )
    np.testing.assert_allclose(out[0], other[0], rtol=1e-5, atol=1e-5)
    assert difference(out[1], other[1]) > 0.05


def test_discriminator_sees_the_order_of_a_pair(networks: Networks, params: Params) -> None:
    """Fails when nothing tells the first frame from the second.

    Broken: without the learned order embedding and with temporally symmetric convolutions.
    """
    size = networks.frame_size
    pairs = normal(0, 4, 2, size, size, 3)
    judge = jax.jit(lambda x: networks.apply(params, "discriminator", x))
    logits = judge(pairs)
    assert logits.shape == (4,) and logits.dtype == jnp.float32
    assert difference(logits, judge(pairs[:, ::-1])) > 0.05
    assert difference(logits, judge(pairs.at[:, 0].set(pairs[::-1, 0]))) > 0.05


def test_video_encoder_reads_every_key_frame(networks: Networks, params: Params) -> None:
    """Fails when a key frame has no way to the learned frame (broken: no temporal attention).

    The learned frame stands before the first key frame; convolutions over time reach only the
    next few frames, attention over time reaches all.
    """
    encode = jax.jit(lambda x: networks.apply(params, "video_encoder", x))
    latents = normal(0, 2, networks.num_key_frames, *networks.latent_shape)
    posterior = encode(latents)
    assert posterior.mean.shape == (2, *networks.global_shape)
    for frame in range(networks.num_key_frames):
        changed = encode(latents.at[0, frame].set(latents[1, frame]))
        for before, after in zip(posterior, changed, strict=True):
            assert difference(before[0], after[0]) > 0.01
            np.testing.assert_allclose(before[1], after[1], rtol=1e-4, atol=1e-5)


def test_generator_depends_on_label_step_and_place(networks: Networks, params: Params) -> None:
    """Fails when labels, steps or positions are dropped (broken: context tokens, positions)."""
    generate = jax.jit(lambda *inputs: networks.apply(params, "generator", *inputs))
    feature = normal(0, 2, *networks.global_shape)
    steps, labels = jnp.array([10, 900]), jnp.array([0, 1])
    out = generate(feature, steps, labels)
    no_class = jnp.full(2, networks.generator.num_classes)
    assert difference(out, generate(feature, steps, no_class)) > 0.01
    assert difference(out, generate(feature, steps[::-1], labels)) > 0.01
    # Without positions the transformer would only carry a permutation of its tokens along.
    turned = generate(feature.swapaxes(1, 2), steps, labels).swapaxes(1, 2)
    assert difference(out, turned) > 0.05


def test_codec_encoder_and_decoder_fit(networks: Networks, params: Params) -> None:
    """Fails when the factor is not the ratio of sizes, or content is lost on either way."""
    size = networks.frame_size
    frames = normal(0, 2, size, size, 3)
    encode = jax.jit(lambda x: networks.apply(params, "frame_codec", x, method="encode"))
    decode = jax.jit(lambda x: networks.apply(params, "frame_codec", x, method="decode"))
    moments = encode(frames)
    height, width, channels = networks.latent_shape
    assert moments.shape == (2, height, width, 2 * channels)
    assert height * networks.frame_codec.factor == size
    # A change in the last corner is seen: the right and bottom padding keeps it.
    changed = encode(frames.at[0, -1, -1].add(2.0))
    assert difference(moments[0], changed[0]) > 0.05
    np.testing.assert_allclose(moments[1], changed[1], rtol=1e-4, atol=1e-5)
    assert decode(moments[..., :channels]).shape == frames.shape
