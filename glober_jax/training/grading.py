"""Which of a generator's checkpoints is best: by a small Frechet video distance to test clips.

Dimension key: N, B clips, T frames, H, W frame size, C colours.
"""

from collections.abc import Iterable

import jax
import numpy as np
from jax.sharding import Mesh

from glober_jax.evaluation import i3d
from glober_jax.evaluation.distances.frechet import frechet_distance
from glober_jax.evaluation.extraction import per_clip
from glober_jax.evaluation.preprocess import preprocess
from glober_jax.training.grades import Grade

_CLIPS_PER_DEVICE = 4


class FvdGrader:
    """Grades generated clips against the same real ones; holds these ones' logits."""

    def __init__(self, real_NTHWC: np.ndarray, mesh: Mesh) -> None:
        """Measures the real clips, uint8; `UserError` without the package of I3D's weights."""

        def logits(params: i3d.Params, clips_BTHWC: jax.Array) -> jax.Array:
            return i3d.logits(params, preprocess(clips_BTHWC, i3d.FRAME_SIZE, "stretch"))

        self._extract = per_clip(logits, i3d.load(), mesh, _CLIPS_PER_DEVICE)
        self._real = self._extract(real_NTHWC)

    def __call__(self, clips: Iterable[np.ndarray]) -> Grade:
        """The distance to these clips, each uint8 [T, H, W, C]; as many as there are real ones."""
        distance = frechet_distance(self._real, self._extract(clips), ddof=0)
        return Grade(f"fvd_of_{len(self._real)}", distance, higher_is_better=False)
