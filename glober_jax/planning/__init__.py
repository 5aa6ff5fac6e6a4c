"""Plans: memory, operations and time of a training run on devices that need not be present."""
