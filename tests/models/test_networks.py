"""Published sizes, every config's networks, and what each network's output depends on."""

import importlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from glober_jax.experiment.config import parse
from glober_jax.models.latents import Gaussian
from glober_jax.models.networks import Networks, Params

Network = Callable[..., Any]
# Section 2 of the reference; the codec is encoder + decoder, tokens are projector + domain tokens.
PUBLISHED = {
    "video_encoder": 28_377_856,
    "frame_features": 47_449_408,
    "unet": 859_520_964,
    "global_tokens": 5_912_064 + 49_152,
    "discriminator": 8_312_641,
    # The 70x70 PatchGAN: 4x4 convolutions 3-64-128-256-512-1, norms, biases at both ends; and
    # biases before the norms, which that one has not.
    "patch_discriminator": 2_765_633 + 128 + 256 + 512,
    "frame_codec": 34_163_664 + 49_490_199,
    # The fixed positions are no parameters here.
    "generator": 674_843_920 - 294_912,
    "condition": 64 * 768,
}
# What ours has on top: the shortcut from key latents (8 frames of 2 x 2 x 4 to 16 channels), and
# the time courses (32 waves to 320 + 320 + 640 + 1280 channels).
OURS = {"video_encoder": (8 * 2 * 2 * 4 + 1) * 16, "frame_features": (32 + 1) * 2560}
CONFIGS = [
    ("quickstart", ""),
    ("skytimelapse", "runlocal"),
    ("ucf101", ""),
    ("ucf101", "unconditional"),
    ("ucf101", "runlocal"),
    ("taichi_hd", ""),
    ("taichi_hd", "runlocal"),
    ("webvid", ""),
    ("webvid", "runlocal"),
    ("video_folder", ""),
    ("video_folder", "gpu"),
]


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def altered(x: np.ndarray, *place: int | slice) -> np.ndarray:
    """A copy with 1 added at `place`."""
    x = x.copy()
    x[place] += 1
    return x


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference, in units of the first one's deviation."""
    return float(np.abs(a - b).max() / a.std())


def compiled(networks: Networks, params: Params, name: str, **options: str) -> Network:
    """One network on NumPy arrays."""
    run = jax.jit(lambda p, *inputs: networks.apply(p, name, *inputs, **options))
    return lambda *inputs: jax.device_get(run(params, *inputs))


@pytest.mark.parametrize(("compat", "ours"), [("reference", {}), ("none", OURS)])
def test_paper_scale_has_the_published_parameter_counts(compat: str, ours: dict[str, int]) -> None:
    """Fails when a layer is missing, of another width, or has a bias too many."""
    config = importlib.import_module("configs.skytimelapse").get_config()
    config.model.compat = compat
    counts = parse(config).networks.count_parameters()
    assert counts == {name: size + ours.get(name, 0) for name, size in PUBLISHED.items()}
    assert all(abs(counts[name] / size - 1) < 0.02 for name, size in PUBLISHED.items())


@pytest.mark.parametrize(
    ("name", "argument", "condition"),
    [
        ("ucf101", "", 101 * 64 * 768),
        ("ucf101", "unconditional", 64 * 768),
        ("taichi_hd", "", 64 * 768),
        ("webvid", "", 0),
    ],
)
def test_other_data_sets_differ_only_in_the_condition(
    name: str, argument: str, condition: int
) -> None:
    """Fails when a config of the published size changes a network it has no reason to."""
    config = importlib.import_module(f"configs.{name}").get_config(argument)
    config.model.compat = "reference"
    counts = parse(config).networks.count_parameters()
    assert counts == PUBLISHED | {"condition": condition}


@pytest.mark.parametrize(("name", "argument"), CONFIGS)
def test_every_config_parses_and_its_networks_build(name: str, argument: str) -> None:
    """Fails when a config does not match the code, or its sizes do not fit together."""
    config = importlib.import_module(f"configs.{name}").get_config(argument)
    networks = parse(config).networks
    counts = networks.count_parameters()
    if networks.condition.kind == "text":
        assert counts.pop("condition") == 0
    assert min(counts.values()) > 0


@pytest.fixture(scope="module")
def unet(networks: Networks, params: Params) -> Network:
    return compiled(networks, params, "unet")


def unet_inputs(networks: Networks) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]]:
    """Latents, steps, tokens and one map per level, of two frames."""
    (side, _, channels), width = networks.latent_shape, networks.unet.channels
    tokens = networks.global_shape[0] * networks.global_shape[1] // 4
    return (
        normal(0, 2, side, side, channels),
        np.array([100, 100]),
        normal(1, 2, tokens, networks.global_tokens.width),
        [normal(2 + level, 2, side >> level, side >> level, width) for level in range(2)],
    )


def test_unet_depends_on_step_tokens_and_the_features_of_every_level(
    networks: Networks, unet: Network
) -> None:
    """Fails when an input is not wired in."""
    latents, steps, tokens, features = unet_inputs(networks)
    out = unet(latents, steps, tokens, features)
    assert out.shape == latents.shape and out.dtype == np.float32
    assert difference(out, unet(latents, steps + 400, tokens, features)) > 0.05
    assert difference(out, unet(latents, steps, tokens[::-1], features)) > 0.01
    for level in range(len(features)):
        changed = [f + np.float32(i == level) for i, f in enumerate(features)]
        assert difference(out, unet(latents, steps, tokens, changed)) > 0.05


def test_unet_treats_every_frame_by_itself(networks: Networks, unet: Network) -> None:
    """Fails when a frame's prediction depends on another's step, tokens or pixels."""
    latents, steps, tokens, features = unet_inputs(networks)
    out = unet(latents, steps, tokens, features)
    others = (altered(x, 1) for x in (latents, steps, tokens))
    other = unet(*others, [altered(f, 1) for f in features])
    np.testing.assert_allclose(out[0], other[0], rtol=1e-5, atol=1e-5)
    assert difference(out[1], other[1]) > 0.05


def test_discriminator_sees_the_order_of_a_pair(networks: Networks, params: Params) -> None:
    """Fails when a pair is judged as a set."""
    judge = compiled(networks, params, "discriminator")
    pairs = normal(0, 4, 2, networks.frame_size, networks.frame_size, 3)
    logits = judge(pairs)
    assert logits.shape == (4,) and logits.dtype == np.float32
    assert difference(logits, judge(pairs[:, ::-1])) > 0.05


def test_learned_frame_gathers_from_every_key_frame(networks: Networks, params: Params) -> None:
    """Fails when a key frame has no way to the learned frame.

    Looked at before the heads, whose norm sees all frames: there, convolutions over time have
    reached only the next two frames, and only attention over time reaches all.
    """

    @jax.jit
    def run(p: Params, latents: jax.Array) -> tuple[Gaussian, jax.Array]:
        posterior, captured = networks.video_encoder.apply(
            {"params": p["video_encoder"]}, latents, capture_intermediates=True
        )
        (last_block,) = captured["intermediates"]["level1_block0_temporal"]["__call__"]
        return posterior, last_block[:, 0]

    latents = normal(0, 2, networks.num_key_frames, *networks.latent_shape)
    posterior, gathered = jax.device_get(run(params, latents))
    assert posterior.mean.shape == (2, *networks.global_shape)
    for frame in range(networks.num_key_frames):
        changed = altered(latents, 0, frame, slice(0, 4))
        other_posterior, other_gathered = jax.device_get(run(params, changed))
        pairs = zip((*posterior, gathered), (*other_posterior, other_gathered), strict=True)
        for before, after in pairs:
            assert difference(before[0], after[0]) > 0.01
            np.testing.assert_allclose(before[1], after[1], rtol=1e-4, atol=1e-5)


def test_fresh_encoder_passes_every_key_frame_on_alike(networks: Networks) -> None:
    """Fails when motion has to be learned into the feature first.

    At initialisation, where attention over time still does nothing, every key frame must move the
    feature about as much as any other.
    """
    fresh = networks.init_all(("video_encoder",), jax.random.key(0))
    encode = compiled(networks, fresh, "video_encoder")
    latents = normal(0, 8, networks.num_key_frames, *networks.latent_shape)
    mean = encode(latents).mean
    moved = []
    for frame in range(networks.num_key_frames):
        changed = latents.copy()
        changed[:, frame] = changed[::-1, frame]
        moved.append(np.sqrt(np.square(encode(changed).mean - mean).mean()))
    assert min(moved) > 0.5 * max(moved)


def test_generator_depends_on_context_step_and_place(networks: Networks, params: Params) -> None:
    """Fails when context, steps or positions are dropped."""
    generate = compiled(networks, params, "generator")
    feature = normal(0, 2, *networks.global_shape)
    steps, context = np.array([10, 900]), normal(1, 2, 3, networks.generator.context_width)
    out = generate(feature, steps, context)
    assert difference(out, generate(feature, steps, context[::-1])) > 0.01
    assert difference(out, generate(feature, steps[::-1], context)) > 0.01
    # Without positions the transformer would only carry a permutation of its tokens along.
    turned = generate(feature.swapaxes(1, 2), steps, context).swapaxes(1, 2)
    assert difference(out, turned) > 0.05


def test_codec_encodes_the_last_corner_of_a_frame(networks: Networks, params: Params) -> None:
    """Fails when the factor is not the ratio of sizes, or frames of a batch are mixed."""
    encode = compiled(networks, params, "frame_codec", method="encode")
    size = networks.frame_size
    frames = normal(0, 2, size, size, 3)
    moments = encode(frames)
    height, width, channels = networks.latent_shape
    assert moments.shape == (2, height, width, 2 * channels)
    assert height * networks.frame_codec.factor == size
    # The last pixel lands in the last cell; a cell off would show at the other end.
    changed = encode(altered(frames, 0, -1, -1))
    cell = np.abs(changed[0] - moments[0]).sum(-1)
    assert cell[-1, -1] > 2 * np.median(cell)
    np.testing.assert_allclose(moments[1], changed[1], rtol=1e-4, atol=1e-5)
