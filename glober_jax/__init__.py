"""GLOBER in JAX: coherent video without autoregression (arXiv 2309.13274)."""

import sys

if sys.argv[:1] == ["-m"] and any(word.startswith("glober_jax.") for word in sys.orig_argv):
    # A command: Ctrl-C also ends its imports, which take seconds.
    from glober_jax import interruption

    interruption.watch()
