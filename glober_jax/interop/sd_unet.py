"""Names of our `UNet`'s parameters in Stable Diffusion's files, at any size.

The release numbers blocks in execution order, those on the way down from the first convolution on;
diffusers numbers levels, and blocks within a level. The tables of single blocks serve the authors'
release too (`reference`); they come after a network's own rewrites.
"""

from collections.abc import Mapping

from glober_jax.interop.network import Naming, Rewrite, Windows, numbered
from glober_jax.interop.weights_file import Tensor
from glober_jax.models.video_decoder import UNet

# Of the UNet in whole checkpoints.
CHECKPOINT_PREFIX = "model.diffusion_model."
# Of Stable Diffusion 1; no shape depends on groups or heads.
CHANNELS = 320
GROUPS = 32
HEADS = 8
_CONTEXT_WIDTH_OF_2 = 1024

# `ResBlock`, in the published release and in diffusers.
RES_BLOCK: tuple[Rewrite, ...] = (
    (r"(^|/)norm_in/", r"\1in_layers/0/"),
    (r"(^|/)conv_in/", r"\1in_layers/2/"),
    (r"(^|/)embedding/", r"\1emb_layers/1/"),
    (r"(^|/)norm_out/", r"\1out_layers/0/"),
    (r"(^|/)conv_out/", r"\1out_layers/3/"),
    (r"(^|/)skip/", r"\1skip_connection/"),
)
# `FrameBlock` with a map of the level above, in the authors' release.
INDEXED_RES_BLOCK: tuple[Rewrite, ...] = (
    (r"(^|/)embedding/", r"\1ind_layers/1/"),
    (r"(^|/)previous/", r"\1emb_layers/1/"),
    *RES_BLOCK,
)
_DIFFUSERS_RES_BLOCK: tuple[Rewrite, ...] = (
    (r"/(norm|conv)_in/", r"/\g<1>1/"),
    (r"/(norm|conv)_out/", r"/\g<1>2/"),
    (r"/embedding/", "/time_emb_proj/"),
    (r"/skip/", "/conv_shortcut/"),
)
RES_BLOCK_WINDOWS: Windows = ((r"(^|\.)skip_connection\.weight$", (1, 1)),)

# `SelfAttention` and `TemporalAttention` ("norm" and "qkv" are called the same).
ATTENTION: tuple[Rewrite, ...] = ((r"(^|/)out/(weight|bias)$", r"\1proj_out/\2"),)
ATTENTION_WINDOWS: Windows = ((r"(^|\.)(qkv|proj_out)\.weight$", (1,)),)

# `CrossAttention`, and the `SpatialTransformer` around it, the same in both.
CROSS_ATTENTION: tuple[Rewrite, ...] = (
    (r"(^|/)([qkv])/(weight)$", r"\1to_\2/\3"),
    (r"(^|/)out/(weight|bias)$", r"\1to_out/0/\2"),
)
_LAYER = r"\1transformer_blocks/0"
TRANSFORMER: tuple[Rewrite, ...] = (
    (r"(^|/)norm_self/", f"{_LAYER}/norm1/"),
    (r"(^|/)norm_cross/", f"{_LAYER}/norm2/"),
    (r"(^|/)norm_ff/", f"{_LAYER}/norm3/"),
    (r"(^|/)self/", f"{_LAYER}/attn1/"),
    (r"(^|/)cross/", f"{_LAYER}/attn2/"),
    (r"(^|/)ff_in/", f"{_LAYER}/ff/net/0/proj/"),
    (r"(^|/)ff_out/", f"{_LAYER}/ff/net/2/"),
    *CROSS_ATTENTION,
)
_TRANSFORMER_WINDOWS: Windows = ((r"(^|\.)proj_(in|out)\.weight$", (1, 1)),)


def unet_namings(unet: UNet) -> tuple[Naming, ...]:
    """The namings of the release and of diffusers."""
    return _release(unet), _diffusers(unet)


def other_architecture(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of another UNet than Stable Diffusion 1's, if recognised.

    With equal token width the shapes of Stable Diffusion 2 fit too, but its heads are narrower.
    """
    if any(name.startswith(("label_emb.", "add_embedding.")) for name in tensors):
        return "the UNet of Stable Diffusion XL"
    keys = (tensor for name, tensor in tensors.items() if name.endswith(".attn2.to_k.weight"))
    if any(key.shape[-1] == _CONTEXT_WIDTH_OF_2 for key in keys):
        return "the UNet of Stable Diffusion 2"
    return None


def _release(unet: UNet) -> Naming:
    # On the way down, downsampling (for the first level, the first convolution) counts as a block;
    # on the way up there is one more block.
    n, top = unet.blocks_per_level + 1, len(unet.multipliers) - 1

    def down(level: int, block: int) -> int:
        return level * n + 1 + block

    def up(level: int, block: int) -> int:
        return (top - level) * n + block

    return Naming(
        title="the published release",
        rewrites=(
            (r"^time_in/", "time_embed/0/"),
            (r"^time_out/", "time_embed/2/"),
            (r"^conv_in/", "input_blocks/0/0/"),
            (r"^norm_out/", "out/0/"),
            (r"^conv_out/", "out/2/"),
            numbered(r"^down(\d+)_sample/", "input_blocks/#/0/op/", lambda level: level * n),
            # In a block: its own layers, then its attention, then the upsampling.
            numbered(r"^down(\d+)_block(\d+)/", "input_blocks/#/0/", down),
            numbered(r"^down(\d+)_block(\d+)_attention/", "input_blocks/#/1/", down),
            numbered(r"^up(\d+)_block(\d+)/", "output_blocks/#/0/", up),
            numbered(r"^up(\d+)_block(\d+)_attention/", "output_blocks/#/1/", up),
            *(
                numbered(
                    rf"^up({level})_sample/",
                    f"output_blocks/#/{2 if level in unet.attention_levels else 1}/conv/",
                    lambda level: up(level, n - 1),
                )
                for level in range(top + 1)
            ),
            (r"^middle_block0/", "middle_block/0/"),
            (r"^middle_attention/", "middle_block/1/"),
            (r"^middle_block1/", "middle_block/2/"),
            *TRANSFORMER,
            *RES_BLOCK,
        ),
        windows=(*_TRANSFORMER_WINDOWS, *RES_BLOCK_WINDOWS),
    )


def _diffusers(unet: UNet) -> Naming:
    top = len(unet.multipliers) - 1

    def up(level: int, block: int = 0) -> int:
        return top - level

    return Naming(
        title="diffusers",
        rewrites=(
            *TRANSFORMER,
            *_DIFFUSERS_RES_BLOCK,
            (r"^time_in/", "time_embedding/linear_1/"),
            (r"^time_out/", "time_embedding/linear_2/"),
            (r"^norm_out/", "conv_norm_out/"),
            # Downsampling belongs to the level that it leaves.
            numbered(
                r"^down(\d+)_sample/",
                "down_blocks/#/downsamplers/0/conv/",
                lambda level: level - 1,
            ),
            (r"^down(\d+)_block(\d+)/", r"down_blocks/\1/resnets/\2/"),
            (r"^down(\d+)_block(\d+)_attention/", r"down_blocks/\1/attentions/\2/"),
            numbered(r"^up(\d+)_sample/", "up_blocks/#/upsamplers/0/conv/", up),
            numbered(r"^up(\d+)_block(\d+)/", r"up_blocks/#/resnets/\2/", up),
            numbered(r"^up(\d+)_block(\d+)_attention/", r"up_blocks/#/attentions/\2/", up),
            (r"^middle_block(\d)/", r"mid_block/resnets/\1/"),
            (r"^middle_attention/", "mid_block/attentions/0/"),
        ),
    )
