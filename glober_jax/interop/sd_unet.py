"""Names of our `UNet`'s parameters in Stable Diffusion's files, at any size.

The release numbers blocks in execution order, those on the way down from the first convolution on;
diffusers numbers levels, and blocks within a level.
"""

from collections.abc import Mapping

from glober_jax.interop.blocks import (
    DIFFUSERS_RES_BLOCK,
    RES_BLOCK,
    RES_BLOCK_WINDOWS,
    TRANSFORMER,
    TRANSFORMER_WINDOWS,
)
from glober_jax.interop.network import Naming, numbered
from glober_jax.interop.stored_tensor import Tensor
from glober_jax.models.video_decoder import UNet

# Of the UNet in whole checkpoints.
CHECKPOINT_PREFIX = "model.diffusion_model."
# Of Stable Diffusion 1; no shape depends on groups or heads.
CHANNELS = 320
GROUPS = 32
HEADS = 8
_CONTEXT_WIDTH_OF_2 = 1024


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
        windows=(*TRANSFORMER_WINDOWS, *RES_BLOCK_WINDOWS),
    )


def _diffusers(unet: UNet) -> Naming:
    top = len(unet.multipliers) - 1

    def up(level: int, block: int = 0) -> int:
        return top - level

    return Naming(
        title="diffusers",
        rewrites=(
            *TRANSFORMER,
            *DIFFUSERS_RES_BLOCK,
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
