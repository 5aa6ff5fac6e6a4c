"""Names of our blocks' parameters in Stable Diffusion's code and its descendants.

Each table renames layers inside one kind of block, so it comes after a network's own rewrites.
"""

from glober_jax.interop.network import Rewrite

Windows = tuple[tuple[str, tuple[int, ...]], ...]

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
DIFFUSERS_RES_BLOCK: tuple[Rewrite, ...] = (
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
TRANSFORMER_WINDOWS: Windows = ((r"(^|\.)proj_(in|out)\.weight$", (1, 1)),)
