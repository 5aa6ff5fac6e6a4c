"""What Stable Diffusion's code, and code that grew from it, calls the parameters of our blocks.

Each table renames what lies inside one kind of block and leaves the way to it alone.
"""

from glober_jax.interop.network import Rewrite

# `ResBlock`, in the published release and in diffusers.
RES_BLOCK: tuple[Rewrite, ...] = (
    (r"/norm_in/", "/in_layers/0/"),
    (r"/conv_in/", "/in_layers/2/"),
    (r"/embedding/", "/emb_layers/1/"),
    (r"/norm_out/", "/out_layers/0/"),
    (r"/conv_out/", "/out_layers/3/"),
    (r"/skip/", "/skip_connection/"),
)
DIFFUSERS_RES_BLOCK: tuple[Rewrite, ...] = (
    (r"/(norm|conv)_in/", r"/\g<1>1/"),
    (r"/(norm|conv)_out/", r"/\g<1>2/"),
    (r"/embedding/", "/time_emb_proj/"),
    (r"/skip/", "/conv_shortcut/"),
)

# `SelfAttention` and `TemporalAttention` ("norm" and "qkv" are called the same).
ATTENTION: tuple[Rewrite, ...] = ((r"/out/", "/proj_out/"),)

# `SpatialTransformer`, the same in both.
_LAYER = "/transformer_blocks/0"
TRANSFORMER: tuple[Rewrite, ...] = (
    (r"/norm_self/", f"{_LAYER}/norm1/"),
    (r"/norm_cross/", f"{_LAYER}/norm2/"),
    (r"/norm_ff/", f"{_LAYER}/norm3/"),
    (r"/self/([qkv])/", rf"{_LAYER}/attn1/to_\1/"),
    (r"/self/out/", f"{_LAYER}/attn1/to_out/0/"),
    (r"/cross/([qkv])/", rf"{_LAYER}/attn2/to_\1/"),
    (r"/cross/out/", f"{_LAYER}/attn2/to_out/0/"),
    (r"/ff_in/", f"{_LAYER}/ff/net/0/proj/"),
    (r"/ff_out/", f"{_LAYER}/ff/net/2/"),
)
