"""`python -m glober_jax.main` that cuts the tiny parameters into shards, as if they were large."""

from glober_jax import cli, main
from glober_jax.parallel import rules

rules.MIN_SHARDED_SIZE = 256

if __name__ == "__main__":
    cli.run(main.main)
