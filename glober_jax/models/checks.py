"""Sizes of networks that must fit together, each failure one sentence that names the config key."""

import dataclasses
import math
from collections.abc import Collection
from typing import Any

from glober_jax.errors import UserError
from glober_jax.models.networks import NETWORKS, Networks

# Numbers that may be 0.
_OPTIONAL = (
    "chunk_frames",
    "clip_frames",
    "estimate_channels",
    "global_downsamples",
    "lead_channels",
    "num_classes",
)


def require(condition: bool, message: str) -> None:
    """Raises `UserError(message)` unless `condition` holds."""
    if not condition:
        raise UserError(message)


def check_networks(networks: Networks) -> None:
    """Refuses every combination of sizes that would fail while compiling."""
    _check_positive(networks)
    _check_resolutions(networks)
    _check_widths(networks)


def _check_positive(networks: Networks) -> None:
    for name in NETWORKS:
        network = getattr(networks, name)
        for key in (field.name for field in dataclasses.fields(network)):
            value = getattr(network, key)
            sizes = value if key == "multipliers" else [value]
            if key in _OPTIONAL or any(type(size) is not int for size in sizes):
                continue
            # A codec without norms; a UNet with `heads` heads at every level.
            if value == 0 and (name, key) in {("frame_codec", "groups"), ("unet", "head_dim")}:
                continue
            require(
                len(sizes) > 0 and min(sizes) > 0,
                f"config.model.{name}.{key} is {value}, but must be positive",
            )
    kind, classes = networks.condition.kind, networks.condition.num_classes
    require(
        classes > 0 if kind == "class" else classes == 0,
        f"config.model.condition.num_classes is {classes}, but must be "
        f"{'positive' if kind == 'class' else '0'} for {kind=}",
    )


def _check_resolutions(networks: Networks) -> None:
    size, factor = networks.frame_size, networks.frame_codec.factor
    require(
        size > 0 and size % factor == 0,
        f"config.frame_size={size} is not a multiple of {factor}, the codec's factor: "
        "config.model.frame_codec.patch_size times 2^(number of multipliers - 1)",
    )
    latent, side = networks.latent_shape[0], networks.global_shape[0]
    for name, pixels, what in (
        ("video_encoder", latent, "latents"),
        ("unet", latent, "latents"),
        ("discriminator", size, "frames"),
        ("patch_discriminator", size, "frames"),
    ):
        divisor = 2 ** (len(getattr(networks, name).multipliers) - 1)
        require(
            pixels % divisor == 0,
            f"config.model.{name} halves its input {divisor}-fold over its levels, but {what} are "
            f"{pixels}x{pixels}; use fewer multipliers",
        )
    left = size // divisor
    require(
        left > 2,
        f"config.model.patch_discriminator leaves {left}x{left} pixels of a frame, and then takes "
        "2 off; use fewer multipliers",
    )
    require(
        side % 2 == 0,
        f"the global feature is {side}x{side}, but its side must be even to be cut into tokens: "
        "use fewer config.model.video_encoder.multipliers or larger frames",
    )
    patch = networks.generator.patch_size
    require(
        side % patch == 0,
        f"config.model.generator.patch_size={patch} does not divide the global feature, which is "
        f"{side}x{side}",
    )
    deepest = latent >> (len(networks.unet.multipliers) - 1)
    require(
        side % deepest == 0,
        f"the global feature is {side}x{side} and cannot be pooled to the UNet's deepest "
        f"{deepest}x{deepest} level",
    )


def _check_widths(networks: Networks) -> None:
    """Groups of norms and heads of attention divide the layers that they are in."""
    codec, patches, encoder = (getattr(networks, name) for name in NETWORKS[:3])
    features, unet, judge = networks.frame_features, networks.unet, networks.discriminator
    attended = {*unet.attention_levels, len(unet.multipliers) - 1}
    unet_heads = "head_dim" if unet.head_dim else "heads"
    judged = {*judge.temporal_levels, *judge.spatial_levels}
    for name, key, divisor, widths in (
        ("frame_codec", "groups", codec.groups, _widths(codec)),
        ("patch_discriminator", "groups", patches.groups, _widths(patches)),
        ("video_encoder", "groups", encoder.groups, {*_widths(encoder), encoder.global_channels}),
        ("video_encoder", "head_dim", encoder.head_dim, _widths(encoder, encoder.attention_levels)),
        ("frame_features", "groups", features.groups, {*features.widths, encoder.global_channels}),
        ("frame_features", "head_dim", features.head_dim, {*features.widths}),
        ("unet", "groups", unet.groups, _widths(unet) | _concatenated_widths(networks)),
        ("unet", unet_heads, getattr(unet, unet_heads), _widths(unet, attended)),
        ("discriminator", "groups", judge.groups, _widths(judge)),
        ("discriminator", "head_dim", judge.head_dim, _widths(judge, judged)),
    ):
        for width in sorted(widths):
            # Layers of fewer channels have a group for each.
            parts = min(divisor, width) if key == "groups" else divisor
            require(
                parts == 0 or width % parts == 0,
                f"config.model.{name}.{key}={divisor} does not divide a layer of {width} channels",
            )
    generator = networks.generator
    require(
        generator.width % math.lcm(generator.heads, 4) == 0,
        f"config.model.generator.width={generator.width} must be a multiple of heads="
        f"{generator.heads} and of 4 (sine and cosine of row and column)",
    )
    lead, channels = generator.lead_channels, encoder.global_channels
    require(
        0 <= lead < channels,
        f"config.model.generator.lead_channels={lead} must lie in 0..{channels - 1}: below the "
        f"{channels} channels of the global feature",
    )


def _widths(network: Any, levels: Collection[int] | None = None) -> set[int]:
    """Channels of a network's layers at these levels; at all of them, and of its first layer."""
    channels, multipliers = network.channels, network.multipliers
    if levels is None:
        return {channels * multiplier for multiplier in (1, *multipliers)}
    return {channels * m for level, m in enumerate(multipliers) if level in levels}


def _concatenated_widths(networks: Networks) -> set[int]:
    """Channel counts after every concatenation on the UNet's way up."""
    unet = networks.unet
    skips = []
    for above, multiplier in zip(unet.feature_widths, unet.multipliers, strict=True):
        skips += [above] + [multiplier * unet.channels] * unet.blocks_per_level
    widths, h = set(), unet.multipliers[-1] * unet.channels
    for multiplier in reversed(unet.multipliers):
        for _ in range(unet.blocks_per_level + 1):
            widths.add(h + skips.pop())
            h = multiplier * unet.channels
    return widths
