"""Datasets: the options of each, and its inputs with class, split and group."""
