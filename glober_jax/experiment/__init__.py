"""An experiment: its config, checked; its stages, built from it; its data and previews."""
