"""Our networks for the constructor arguments that a recording comes with.

The release counts resolutions by how often they were halved, as a factor: 1, 2, 4, ...
"""

from collections.abc import Iterable
from typing import Any

from glober_jax.models.discriminator import PairDiscriminator
from glober_jax.models.frame_codec import FrameCodec
from glober_jax.models.generator import GlobalGenerator
from glober_jax.models.video_decoder import FrameFeatures, UNet
from glober_jax.models.video_encoder import VideoEncoder

Arguments = dict[str, Any]


def levels(factors: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(factor.bit_length() - 1 for factor in factors))


def frame_codec(arguments: Arguments) -> FrameCodec:
    return FrameCodec(
        channels=arguments["ch"],
        multipliers=tuple(arguments["ch_mult"]),
        blocks_per_level=arguments["num_res_blocks"],
        latent_channels=arguments["z_channels"],
    )


def video_encoder(arguments: Arguments) -> VideoEncoder:
    return VideoEncoder(
        channels=arguments["model_channels"],
        multipliers=tuple(arguments["channel_mult"]),
        blocks_per_level=arguments["num_res_blocks"],
        attention_levels=levels(arguments["attention_resolutions"]),
        global_channels=arguments["out_channels"],
        head_dim=arguments["num_head_channels"],
        compat="reference",
    )


def frame_features(arguments: Arguments, widths: Iterable[int], slots: int) -> FrameFeatures:
    return FrameFeatures(
        channels=arguments["model_channels"],
        widths=tuple(widths),
        global_downsamples=len(arguments["channel_mult"]) - 1,
        index_slots=slots,
        head_dim=arguments["num_head_channels"],
        compat="reference",
    )


def feature_sites(input_block_ds: list[int]) -> list[int]:
    """The UNet's input blocks that a feature map is added after: the first of each level."""
    return [input_block_ds.index(factor) for factor in sorted(set(input_block_ds))]


def unet(arguments: Arguments) -> UNet:
    return UNet(
        channels=arguments["model_channels"],
        multipliers=tuple(arguments["channel_mult"]),
        blocks_per_level=arguments["num_res_blocks"],
        attention_levels=levels(arguments["attention_resolutions"]),
        heads=arguments["num_heads"],
        latent_channels=arguments["out_channels"],
    )


def discriminator(arguments: Arguments) -> PairDiscriminator:
    return PairDiscriminator(
        channels=arguments["model_channels"],
        multipliers=tuple(arguments["channel_mult"]),
        blocks_per_level=arguments["num_res_blocks"],
        temporal_levels=levels(arguments["temporal_attention_resolutions"]),
        spatial_levels=levels(arguments["spatial_attention_resolutions"]),
        head_dim=arguments["num_head_channels"],
    )


def global_generator(arguments: Arguments) -> GlobalGenerator:
    return GlobalGenerator(
        width=arguments["hidden_size"],
        depth=arguments["depth"],
        heads=arguments["num_heads"],
        global_channels=arguments["in_channels"],
        patch_size=arguments["patch_size"],
        context_width=arguments["context_dim"],
    )
