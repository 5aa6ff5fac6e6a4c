"""Names inside the blocks that several published networks share, as rewrites of our paths."""

from glober_jax.interop.network import Rewrite

# The release's residual block (`ResBlock` here), in each of its variants.
RESIDUAL: tuple[Rewrite, ...] = (
    (r"(^|/)norm_in/", r"\1in_layers/0/"),
    (r"(^|/)conv_in/", r"\1in_layers/2/"),
    (r"(^|/)embedding/", r"\1emb_layers/1/"),
    (r"(^|/)norm_out/", r"\1out_layers/0/"),
    (r"(^|/)conv_out/", r"\1out_layers/3/"),
    (r"(^|/)skip/", r"\1skip_connection/"),
)
RESIDUAL_WINDOWS = ((r"(^|\.)skip_connection\.weight$", (1, 1)),)

# Attention over pixels or over time (`SelfAttention`, `TemporalAttention`).
ATTENTION: tuple[Rewrite, ...] = ((r"(^|/)out/(weight|bias)$", r"\1proj_out/\2"),)
ATTENTION_WINDOWS = ((r"(^|\.)(qkv|proj_out)\.weight$", (1,)),)
