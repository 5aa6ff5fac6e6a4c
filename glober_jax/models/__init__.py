"""The networks: linen definitions that know nothing of losses or optimizers."""
