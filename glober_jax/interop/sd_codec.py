"""Names of our `FrameCodec`'s parameters in Stable Diffusion's files, at any size.

The release numbers the decoder's levels by resolution, as we do; diffusers in execution order.
"""

from glober_jax.interop.network import Naming, Rewrite, numbered
from glober_jax.models.frame_codec import FrameCodec

# Of the codec in whole checkpoints.
CHECKPOINT_PREFIX = "first_stage_model."
# The release's factor of latents.
LATENT_SCALE = 0.18215
# The release's width, and the groups of its norms, on which no shape depends.
CHANNELS = 128
GROUPS = 32

_SHARED: tuple[Rewrite, ...] = (
    (r"^to_moments/", "quant_conv/"),
    (r"^from_latents/", "post_quant_conv/"),
    (r"(block\d+)/(norm|conv)_in/", r"\1/\g<2>1/"),
    (r"(block\d+)/(norm|conv)_out/", r"\1/\g<2>2/"),
)
_RELEASE = Naming(
    title="the published release",
    rewrites=(
        *_SHARED,
        (r"(block\d+)/skip/", r"\1/nin_shortcut/"),
        (r"middle_block0/", "mid/block_1/"),
        (r"middle_block1/", "mid/block_2/"),
        (r"middle_attention/out/", "mid/attn_1/proj_out/"),
        (r"middle_attention/", "mid/attn_1/"),
        (r"encoder/level(\d+)_block(\d+)/", r"encoder/down/\1/block/\2/"),
        (r"encoder/level(\d+)_down/", r"encoder/down/\1/downsample/conv/"),
        (r"decoder/level(\d+)_block(\d+)/", r"decoder/up/\1/block/\2/"),
        (r"decoder/level(\d+)_up/", r"decoder/up/\1/upsample/conv/"),
    ),
    windows=((r"(quant_conv|nin_shortcut|attn_1\.(q|k|v|proj_out))\.weight$", (1, 1)),),
    # In checkpoints of a training run: the loss's networks, and averaged weights.
    leftovers=("loss.", "model_ema."),
)


def codec_namings(codec: FrameCodec) -> tuple[Naming, ...]:
    """The namings of the release, of diffusers, and of older diffusers."""
    return (
        _RELEASE,
        _diffusers(codec, "diffusers", ("to_q", "to_k", "to_v", "to_out/0")),
        _diffusers(codec, "older diffusers", ("query", "key", "value", "proj_attn")),
    )


def _diffusers(codec: FrameCodec, title: str, projections: tuple[str, ...]) -> Naming:
    top = len(codec.multipliers) - 1
    attention = "mid_block/attentions/0"
    return Naming(
        title=title,
        rewrites=(
            *_SHARED,
            (r"(block\d+)/skip/", r"\1/conv_shortcut/"),
            (r"middle_block(\d)/", r"mid_block/resnets/\1/"),
            (r"middle_attention/norm/", f"{attention}/group_norm/"),
            *(
                (f"middle_attention/{ours}/", f"{attention}/{theirs}/")
                for ours, theirs in zip(("q", "k", "v", "out"), projections, strict=True)
            ),
            (r"(encoder|decoder)/norm_out/", r"\1/conv_norm_out/"),
            (r"encoder/level(\d+)_block(\d+)/", r"encoder/down_blocks/\1/resnets/\2/"),
            (r"encoder/level(\d+)_down/", r"encoder/down_blocks/\1/downsamplers/0/conv/"),
            numbered(
                r"decoder/level(\d+)_block(\d+)/",
                r"decoder/up_blocks/#/resnets/\2/",
                lambda level, block: top - level,
            ),
            numbered(
                r"decoder/level(\d+)_up/",
                "decoder/up_blocks/#/upsamplers/0/conv/",
                lambda level: top - level,
            ),
        ),
    )
