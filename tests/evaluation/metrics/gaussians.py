"""Gaussian features whose true distance is known. Dimension key: N clips, D features."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Gaussians:
    """Real features with variances 1/i, and generated ones `shift` deviations off, `scale` wide."""

    dim: int
    shift: float = 0.0
    scale: float = 1.0

    @property
    def _deviation_D(self) -> np.ndarray:
        return np.arange(1, self.dim + 1.0) ** -0.5

    def draw(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Two sets [N, D]."""
        real, made = rng.standard_normal((2, count, self.dim)) * self._deviation_D
        return real, made * self.scale + self.shift * self._deviation_D

    @property
    def frechet(self) -> float:
        """The distance of the distributions: covariances commute, so roots of variances do."""
        return float((self.shift**2 + (self.scale - 1) ** 2) * np.square(self._deviation_D).sum())
