"""Metrics of clips and of sets of features, computed on the host in float64 unless they say so."""
