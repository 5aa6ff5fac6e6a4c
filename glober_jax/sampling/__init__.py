"""From a trained workdir to frames."""
