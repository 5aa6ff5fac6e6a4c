"""Which of a generator's checkpoints is best: by a small Frechet video distance to test clips.

Dimension key: N clips, T frames, H, W frame size, C colours.
"""

from collections.abc import Iterable

import numpy as np
from jax.sharding import Mesh

from glober_jax.evaluation.measuring import logits
from glober_jax.evaluation.metrics.frechet import frechet_distance
from glober_jax.training.best_checkpoint import Grade


class FvdGrader:
    """Grades generated clips against the same real ones; holds these ones' logits."""

    def __init__(self, real_NTHWC: np.ndarray, mesh: Mesh) -> None:
        """Measures the real clips, uint8; `UserError` without the package of I3D's weights."""
        self._instrument = logits(mesh, "stretch")
        self._real = self._logits(real_NTHWC)

    def __call__(self, clips: Iterable[np.ndarray]) -> Grade:
        """The distance to these clips, each uint8 [T, H, W, C]; as many as there are real ones."""
        distance = frechet_distance(self._real, self._logits(clips), ddof=0)
        return Grade(f"fvd_of_{len(self._real)}", distance, higher_is_better=False)

    def _logits(self, clips: Iterable[np.ndarray]) -> np.ndarray:
        return self._instrument.measure(clips)["logits"]
