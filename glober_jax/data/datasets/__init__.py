"""TFDS builders, one per kind of input; all share one feature schema."""
