"""Videos as people have them on disk: found, decoded, captioned."""
