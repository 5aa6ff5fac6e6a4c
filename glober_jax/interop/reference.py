"""Names of GLOBER's networks' parameters in the authors' release, at any size.

The release numbers blocks in execution order. Parameters that we add to the published networks
(`models.compat`) are written under our own names.
"""

import dataclasses

from glober_jax.interop import sd_codec, sd_unet
from glober_jax.interop.network import Naming, Rewrite, numbered
from glober_jax.interop.sd_unet import ATTENTION, INDEXED_RES_BLOCK, RES_BLOCK
from glober_jax.models.discriminator import PairDiscriminator
from glober_jax.models.generator import GlobalGenerator
from glober_jax.models.networks import Networks
from glober_jax.models.video_encoder import VideoEncoder

_TITLE = "the authors' release"
# Ignored tensors: noise schedule, text encoder, averaged weights.
_BESIDES = (
    "betas",
    "alphas_cumprod",
    "sqrt_",
    "log_one_minus_alphas_cumprod",
    "posterior_",
    "logvar",
    "scale_factor",
    "cond_stage_model.",
    "model_ema.",
)
_BLOCKS = (*RES_BLOCK, *ATTENTION)
_WINDOWS = (*sd_unet.RES_BLOCK_WINDOWS, *sd_unet.ATTENTION_WINDOWS)


def video_encoder(encoder: VideoEncoder) -> Naming:
    """Names of the encoding half of `videocontent_enc`."""
    per_level = encoder.blocks_per_level + 1
    return Naming(
        _TITLE,
        rewrites=(
            (r"^global_query$", "video_content"),
            (r"^conv_in/", "input_blocks/0/"),
            _block("residual", per_level, 0),
            _block("spatial", per_level, 1),
            _block("temporal", per_level, 2),
            numbered(
                r"^level(\d+)_down/",
                "input_blocks/#/0/op/",
                lambda level: (level + 1) * per_level,
            ),
            (r"^mean_", "out_vc_"),
            (r"^log_variance_", "out_vc_var_"),
            (r"^(out_vc|out_vc_var)_conv/", r"\1/0/"),
            (r"^(out_vc|out_vc_var)_norm/", r"\1/1/"),
            (r"^(out_vc|out_vc_var)_out/", r"\1/3/"),
            *_BLOCKS,
        ),
        windows=((r"out_vc(_var)?\.3\.weight$", (1, 1, 1)), *_WINDOWS),
    )


def frame_features() -> Naming:
    """Names of the decoding half of `videocontent_enc`."""
    return Naming(
        _TITLE,
        rewrites=(
            (r"^index_in/", "index_embed/0/"),
            (r"^index_out/", "index_embed/2/"),
            (r"^level(\d+)_exchange/", r"exchange_blocks/\1/"),
            (r"^level(\d+)/out/", r"output_blocks/\1/1/0/"),
            # The first level's block has no map of a level above.
            (r"^level0/embedding/", "output_blocks/0/0/emb_layers/1/"),
            (r"^level(\d+)/", r"output_blocks/\1/0/"),
            *INDEXED_RES_BLOCK,
            *ATTENTION,
        ),
        windows=((r"output_blocks\.\d+\.1\.0\.weight$", (1, 1)), *_WINDOWS),
    )


def global_tokens() -> Naming:
    """Names of the projector and of the learned context."""
    return Naming(
        _TITLE,
        rewrites=(
            (r"^conv_in/", "global_projector/0/"),
            (r"^conv_out/", "global_projector/2/"),
            (r"^domain$", "context_emb"),
        ),
    )


def pair_discriminator(discriminator: PairDiscriminator) -> Naming:
    """Names of `discriminator`."""
    per_level = discriminator.blocks_per_level + 1
    spatial = sorted(discriminator.spatial_levels)
    return Naming(
        _TITLE,
        rewrites=(
            (r"^order$", "frame_embed"),
            (r"^conv_in/", "input_blocks/0/"),
            (r"^conv_out/", "out/0/"),
            (r"^norm_out/", "out/1/"),
            (r"^logit/", "out/5/"),
            _block("residual", per_level, 0),
            _block("spatial", per_level, 1),
            *(_block("temporal", per_level, 2, level) for level in spatial),
            _block("temporal", per_level, 1),
            numbered(r"^level(\d+)_down/", "input_blocks/#/0/op/", lambda level: level * per_level),
            *_BLOCKS,
        ),
        windows=_WINDOWS,
    )


def global_generator(generator: GlobalGenerator) -> Naming:
    """Names of `DiT_crossattn`; its positions are constants, which are no parameters of ours."""
    patch = generator.patch_size
    return Naming(
        _TITLE,
        rewrites=(
            (r"^patch_in/", "x_embedder/proj/"),
            (r"^context/", "c_embedder/"),
            (r"^time_in/", "t_embedder/mlp/0/"),
            (r"^time_out/", "t_embedder/mlp/2/"),
            (r"^out_modulation/", "final_layer/adaLN_modulation/1/"),
            (r"^out/", "final_layer/linear/"),
            (r"^block(\d+)/modulation/", r"blocks/\1/adaLN_modulation/1/"),
            (r"^block(\d+)/qkv/", r"blocks/\1/attn/qkv/"),
            (r"^block(\d+)/attention_out/", r"blocks/\1/attn/proj/"),
            (r"^block(\d+)/mlp_(in|conv)/", r"blocks/\1/mlp/fc1/"),
            (r"^block(\d+)/mlp_out/", r"blocks/\1/mlp/fc2/"),
        ),
        windows=((r"x_embedder\.proj\.weight$", (patch, patch)),),
        leftovers=("pos_embed",),
    )


def autoencoder_file(networks: Networks) -> dict[str, Naming]:
    """Names in a checkpoint of the release's first stage, by network."""
    codec = sd_codec.codec_namings(networks.frame_codec)[0]
    unet = sd_unet.unet_namings(networks.unet)[0]
    return {
        "frame_codec": codec.under(sd_codec.CHECKPOINT_PREFIX),
        "video_encoder": video_encoder(networks.video_encoder).under("videocontent_enc."),
        "frame_features": frame_features().under("videocontent_enc."),
        "global_tokens": dataclasses.replace(global_tokens(), leftovers=_BESIDES),
        "unet": unet.under(sd_unet.CHECKPOINT_PREFIX),
        "discriminator": pair_discriminator(networks.discriminator).under("discriminator."),
    }


def generator_file(networks: Networks) -> dict[str, Naming]:
    """Names in a checkpoint of the release's second stage, by network.

    It includes the first stage (`stable_ae`), whose context is the generator's condition.
    """
    condition = Naming(
        _TITLE,
        rewrites=((r"^tokens$", "stable_ae.context_emb"), (r"^table$", "condition.table")),
        leftovers=("stable_ae.", sd_codec.CHECKPOINT_PREFIX, *_BESIDES),
    )
    return {
        "condition": condition,
        "generator": global_generator(networks.generator).under(sd_unet.CHECKPOINT_PREFIX),
    }


def _block(kind: str, per_level: int, place: int, level: int | str = r"\d+") -> Rewrite:
    """level{l}_block{b}_{kind} is at `place` of the block that runs as number 1 + l n + b."""
    return numbered(
        rf"^level({level})_block(\d+)_{kind}/",
        f"input_blocks/#/{place}/",
        lambda level, block: 1 + level * per_level + block,
    )
