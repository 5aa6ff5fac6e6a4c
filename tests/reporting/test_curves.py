"""Curves of a run as one picture."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glober_jax.errors import UserError
from glober_jax.reporting.curves import plot_curves
from glober_jax.training.metric_writer import MetricsWriter


def test_curves_are_drawn_for_every_stage(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no losses"):
        plot_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png")
    with MetricsWriter(tmp_path, enabled=True) as writer:
        for step in range(1, 60):
            loss = math.nan if step == 7 else 1.0 / step
            writer.write_scalars("codec", step, {"loss": 1 / step, "grad_norm": step})
            values = {"d_loss": step - 20, "diffusion_loss": loss, "kl": 3.0, "learning_rate": 1.0}
            writer.write_scalars("autoencoder", step, values)
    plot_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        # Two rows; three panels in the longer: losses, adversarial losses, KL.
        assert picture.size == (3 * 552, 2 * 384)
        assert np.asarray(picture.convert("L")).std() > 5
