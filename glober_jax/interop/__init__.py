"""Weights that others trained, under their names, and ours."""
