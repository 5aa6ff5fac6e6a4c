"""What `python -m glober_jax.benchmark` measures."""
