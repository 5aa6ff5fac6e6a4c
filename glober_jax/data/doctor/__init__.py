"""Checks a prepared dataset, whatever happened to its files, and says what is wrong where."""
