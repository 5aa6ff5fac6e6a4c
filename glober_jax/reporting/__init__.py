"""Scores of trained models, the summary of a run, and its report."""
