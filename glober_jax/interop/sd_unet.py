"""What Stable Diffusion's files call the parameters of our `UNet`, at any size.

The published release numbers blocks in the order in which they run, those of the way down from
the first convolution on; diffusers counts levels on either way, and blocks within a level.
"""

import re
from collections.abc import Callable, Mapping

from glober_jax.interop.blocks import (
    DIFFUSERS_RES_BLOCK,
    RES_BLOCK,
    RES_BLOCK_WINDOWS,
    TRANSFORMER,
    TRANSFORMER_WINDOWS,
)
from glober_jax.interop.network import Naming, Rewrite
from glober_jax.interop.stored_tensor import Tensor
from glober_jax.models.video_decoder import UNet

# Where whole Stable Diffusion checkpoints keep the UNet.
CHECKPOINT_PREFIX = "model.diffusion_model."
# Of Stable Diffusion 1, at its width; the shapes of a file do not tell.
CHANNELS = 320
GROUPS = 32
HEADS = 8
_CONTEXT_WIDTH_OF_2 = 1024


def unet_namings(unet: UNet) -> tuple[Naming, ...]:
    """Every naming in use: the release's and that of diffusers."""
    return _release(unet), _diffusers(unet)


def other_architecture(tensors: Mapping[str, Tensor]) -> str | None:
    """What a UNet of another kind than Stable Diffusion 1 seems to be; None where nothing says so.

    Stable Diffusion 2 fits where tokens are as wide as its own, but has heads of 64 channels.
    """
    if any(name.startswith(("label_emb.", "add_embedding.")) for name in tensors):
        return "the UNet of Stable Diffusion XL"
    keys = (tensor for name, tensor in tensors.items() if name.endswith(".attn2.to_k.weight"))
    if any(key.shape[-1] == _CONTEXT_WIDTH_OF_2 for key in keys):
        return "the UNet of Stable Diffusion 2"
    return None


def _release(unet: UNet) -> Naming:
    # On the way down a level's downsampling (for the first, the UNet's first convolution) counts as
    # a block; on the way up there is one block more.
    per_level = unet.blocks_per_level + 1
    top = len(unet.multipliers) - 1

    def downsampling(found: re.Match[str]) -> str:
        return f"input_blocks/{int(found[1]) * per_level}/0/op/"

    def input_block(found: re.Match[str]) -> str:
        return f"input_blocks/{int(found[1]) * per_level + 1 + int(found[2])}"

    def output_block(found: re.Match[str]) -> str:
        return f"output_blocks/{(top - int(found[1])) * per_level + int(found[2])}"

    def upsampling(found: re.Match[str]) -> str:
        """The last part of its level's last block, after the attention where there is one."""
        level = int(found[1])
        part = 2 if level in unet.attention_levels else 1
        return f"output_blocks/{(top - level + 1) * per_level - 1}/{part}/conv/"

    return Naming(
        title="the published release",
        rewrites=(
            (r"^time_in/", "time_embed/0/"),
            (r"^time_out/", "time_embed/2/"),
            (r"^conv_in/", "input_blocks/0/0/"),
            (r"^norm_out/", "out/0/"),
            (r"^conv_out/", "out/2/"),
            (
                r"^down(\d+)_sample/",
                lambda found: f"input_blocks/{int(found[1]) * per_level}/0/op/",
            ),
            (r"^up(\d+)_sample/", upsampling),
            *_parts(r"down(\d+)_block(\d+)", input_block),
            *_parts(r"up(\d+)_block(\d+)", output_block),
            (r"^middle_block0/", "middle_block/0/"),
            (r"^middle_attention/", "middle_block/1/"),
            (r"^middle_block1/", "middle_block/2/"),
            *TRANSFORMER,
            *RES_BLOCK,
        ),
        windows=(*TRANSFORMER_WINDOWS, *RES_BLOCK_WINDOWS),
    )


def _parts(block: str, name: Callable[[re.Match[str]], str]) -> tuple[Rewrite, ...]:
    """A block's own layers come first in it, its attention second."""
    return (
        (rf"^{block}/", lambda found: f"{name(found)}/0/"),
        (rf"^{block}_attention/", lambda found: f"{name(found)}/1/"),
    )


def _diffusers(unet: UNet) -> Naming:
    top = len(unet.multipliers) - 1

    def up(found: re.Match[str]) -> str:
        return f"up_blocks/{top - int(found[1])}"

    return Naming(
        title="diffusers",
        rewrites=(
            *TRANSFORMER,
            *DIFFUSERS_RES_BLOCK,
            (r"^time_in/", "time_embedding/linear_1/"),
            (r"^time_out/", "time_embedding/linear_2/"),
            (r"^norm_out/", "conv_norm_out/"),
            # Downsampling belongs to the level that it leaves.
            (
                r"^down(\d+)_sample/",
                lambda found: f"down_blocks/{int(found[1]) - 1}/downsamplers/0/conv/",
            ),
            (r"^down(\d+)_block(\d+)/", r"down_blocks/\1/resnets/\2/"),
            (r"^down(\d+)_block(\d+)_attention/", r"down_blocks/\1/attentions/\2/"),
            (r"^up(\d+)_sample/", lambda found: f"{up(found)}/upsamplers/0/conv/"),
            (r"^up(\d+)_block(\d+)/", lambda found: f"{up(found)}/resnets/{found[2]}/"),
            (
                r"^up(\d+)_block(\d+)_attention/",
                lambda found: f"{up(found)}/attentions/{found[2]}/",
            ),
            (r"^middle_block(\d)/", r"mid_block/resnets/\1/"),
            (r"^middle_attention/", "mid_block/attentions/0/"),
        ),
    )
