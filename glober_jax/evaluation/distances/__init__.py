"""How far apart two sets of features are, in float64 on the host, and how sure one can be of it."""
