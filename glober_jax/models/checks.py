"""Sizes that must fit together, each failure one sentence that names the config keys."""

import math
from collections.abc import Iterable

from glober_jax.errors import UserError
from glober_jax.models.networks import Networks


def require(condition: bool, message: str) -> None:
    """Raises `UserError(message)` unless `condition` holds."""
    if not condition:
        raise UserError(message)


def check_networks(networks: Networks) -> None:
    """Refuses every combination of sizes that would fail while compiling."""
    _check_positive(networks)
    _check_resolutions(networks)
    _check_groups(networks)
    _check_heads(networks)


def _check_positive(networks: Networks) -> None:
    for name in ("frame_codec", "patch_discriminator", "video_encoder", "unet", "discriminator"):
        network = getattr(networks, name)
        multipliers = network.multipliers
        require(
            len(multipliers) > 0 and min(multipliers) > 0 and network.channels > 0,
            f"config.model.{name}: channels and every one of multipliers={multipliers} "
            "must be positive",
        )
        for key in ("groups", "blocks_per_level", "latent_channels", "global_channels", "heads"):
            value = getattr(network, key, 1)
            if (name, key, value) == ("frame_codec", "groups", 0):
                continue  # A codec without norms.
            require(value > 0, f"config.model.{name}.{key} is {value}, but must be positive")
    patch = networks.frame_codec.patch_size
    require(patch > 0, f"config.model.frame_codec.patch_size is {patch}, but must be positive")
    generator = networks.generator
    for key in ("width", "depth", "heads", "patch_size", "context_width"):
        value = getattr(generator, key)
        require(value > 0, f"config.model.generator.{key} is {value}, but must be positive")
    condition = networks.condition
    require(
        condition.length > 0,
        f"config.model.condition.length is {condition.length}, but must be positive",
    )
    require(
        condition.num_classes > 0 if condition.kind == "class" else condition.num_classes == 0,
        f"config.model.condition.num_classes is {condition.num_classes}, but must be "
        + ("positive" if condition.kind == "class" else "0")
        + f" for kind={condition.kind!r}",
    )
    slots = networks.frame_features.index_slots
    require(slots > 0, f"config.model.frame_features.index_slots is {slots}, but must be positive")


def _check_resolutions(networks: Networks) -> None:
    size, factor = networks.frame_size, networks.frame_codec.factor
    levels = len(networks.frame_codec.multipliers)
    require(
        size > 0 and size % factor == 0,
        f"config.frame_size={size} is not a multiple of {factor}, the codec's factor: patch_size="
        f"{networks.frame_codec.patch_size} times 2^({levels} levels - 1)",
    )
    latent = networks.latent_shape[0]
    for name in ("video_encoder", "unet"):
        divisor = 2 ** (len(getattr(networks, name).multipliers) - 1)
        require(
            latent % divisor == 0,
            f"config.model.{name} halves its input {divisor}-fold over its levels, but latents are "
            f"{latent}x{latent} (frame_size={size}, codec factor {factor}); use fewer multipliers",
        )
    side = networks.global_shape[0]
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
    divisor = 2 ** (len(networks.discriminator.multipliers) - 1)
    require(
        size % divisor == 0,
        f"config.model.discriminator halves frames {divisor}-fold, but they are {size}x{size}; "
        "use fewer multipliers",
    )
    divisor = 2 ** (len(networks.patch_discriminator.multipliers) - 1)
    require(
        size % divisor == 0 and size // divisor > 2,
        f"config.model.patch_discriminator halves frames {divisor}-fold and then takes 2 pixels "
        f"off, but they are {size}x{size}; use fewer multipliers",
    )


def _widths(channels: int, multipliers: Iterable[int]) -> set[int]:
    return {channels * multiplier for multiplier in (1, *multipliers)}


def _unet_skip_widths(networks: Networks) -> set[int]:
    """Channel counts after every concatenation on the UNet's way up."""
    unet = networks.unet
    skips = []
    for level, multiplier in enumerate(unet.multipliers):
        above = unet.multipliers[max(level - 1, 0)] if level else 1
        skips += [above * unet.channels] + [multiplier * unet.channels] * unet.blocks_per_level
    widths, h = set(), unet.multipliers[-1] * unet.channels
    for multiplier in reversed(unet.multipliers):
        for _ in range(unet.blocks_per_level + 1):
            widths.add(h + skips.pop())
            h = multiplier * unet.channels
    return widths


def _check_groups(networks: Networks) -> None:
    codec, encoder, unet = networks.frame_codec, networks.video_encoder, networks.unet
    discriminator, features = networks.discriminator, networks.frame_features
    patches = networks.patch_discriminator
    normalised = {
        "frame_codec": (codec.groups, _widths(codec.channels, codec.multipliers)),
        "patch_discriminator": (patches.groups, _widths(patches.channels, patches.multipliers)),
        "video_encoder": (
            encoder.groups,
            _widths(encoder.channels, encoder.multipliers) | {encoder.global_channels},
        ),
        "frame_features": (
            features.groups,
            {*unet.feature_widths, encoder.global_channels},
        ),
        "unet": (
            unet.groups,
            _widths(unet.channels, unet.multipliers) | _unet_skip_widths(networks),
        ),
        "discriminator": (
            discriminator.groups,
            _widths(discriminator.channels, discriminator.multipliers),
        ),
    }
    for name, (groups, widths) in normalised.items():
        for width in sorted(widths):
            require(
                groups == 0 or width % min(groups, width) == 0,
                f"config.model.{name}.groups={groups} does not divide a layer of {width} channels",
            )


def _check_heads(networks: Networks) -> None:
    encoder, features, unet = networks.video_encoder, networks.frame_features, networks.unet
    discriminator, generator = networks.discriminator, networks.generator
    attended = {
        "video_encoder": (encoder.head_dim, _level_widths(encoder, {*encoder.attention_levels}))
    }
    attended["frame_features"] = (features.head_dim, {*unet.feature_widths})
    levels = {*discriminator.temporal_levels, *discriminator.spatial_levels}
    attended["discriminator"] = (discriminator.head_dim, _level_widths(discriminator, levels))
    for name, (head_dim, widths) in attended.items():
        for width in sorted(widths):
            require(
                head_dim > 0 and width % head_dim == 0,
                f"config.model.{name}.head_dim={head_dim} does not divide a layer of {width} "
                "channels",
            )
    for width in sorted(_level_widths(unet, {*unet.attention_levels, len(unet.multipliers) - 1})):
        key = "head_dim" if unet.head_dim else "heads"
        divisor = getattr(unet, key)
        require(
            divisor > 0 and width % divisor == 0,
            f"config.model.unet.{key}={divisor} does not divide a layer of {width} channels",
        )
    divisor = math.lcm(generator.heads, 4)
    require(
        generator.width % divisor == 0,
        f"config.model.generator.width={generator.width} must be a multiple of heads="
        f"{generator.heads} and of 4 (sine and cosine of row and column)",
    )


def _level_widths(network: object, levels: set[int]) -> set[int]:
    return {
        network.channels * multiplier
        for level, multiplier in enumerate(network.multipliers)
        if level in levels
    }
