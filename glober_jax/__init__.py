"""GLOBER in JAX: coherent video without autoregression (arXiv 2309.13274)."""
