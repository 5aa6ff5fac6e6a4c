"""Published sizes and every config's networks; tests/parity has what they compute."""

import importlib

import numpy as np
import pytest

from glober_jax.experiment.config import parse

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
