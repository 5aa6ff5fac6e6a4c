"""From listed inputs to a finished dataset folder: splits, shards, metadata and card."""
