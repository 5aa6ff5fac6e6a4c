"""Mean and covariance of features that arrive batch by batch.

Dimension key: N clips of a batch, D features.
"""

import dataclasses
from typing import Self

import numpy as np

from glober_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Moments:
    """Sums over `count` clips, float64; however clips were batched, the same to about 1e-12.

    Attributes:
      mean_D: the mean.
      scatter_DD: sum over clips of (x - mean)(x - mean)ᵀ.
    """

    count: int
    mean_D: np.ndarray
    scatter_DD: np.ndarray

    @classmethod
    def of(cls, x_ND: np.ndarray, mask_N: np.ndarray | None = None) -> Self:
        """Moments of a batch, which may be empty; rows where `mask_N` is false do not count.

        Raises:
          UserError: a row that counts is not finite.
        """
        x_ND = np.asarray(x_ND, np.float64)
        if mask_N is not None:
            x_ND = x_ND[np.asarray(mask_N, bool)]
        if not np.isfinite(x_ND).all():
            raise UserError(
                "some clips have features that are NaN or infinite; look for damaged or diverged "
                "clips"
            )
        # The mean of no rows is a warning and NaN.
        mean_D = x_ND.sum(axis=0) / max(len(x_ND), 1)
        centred_ND = x_ND - mean_D
        return cls(len(x_ND), mean_D, centred_ND.T @ centred_ND)

    def merge(self, other: Self) -> Self:
        """Moments of both sets together, by the pairwise update of Chan, Golub & LeVeque (1979).

            M = M_a + M_b + (n_a n_b / n) d dᵀ   with d = mean_b - mean_a

        Adding raw second moments instead would lose the digits that the mean takes up.
        """
        count = self.count + other.count
        shift_D = other.mean_D - self.mean_D
        share = other.count / max(count, 1)
        return type(self)(
            count,
            self.mean_D + share * shift_D,
            self.scatter_DD + other.scatter_DD + self.count * share * np.outer(shift_D, shift_D),
        )

    def covariance_DD(self, ddof: int) -> np.ndarray:
        """scatter / (count - ddof): 0 is the biased covariance, 1 the unbiased one.

        Raises:
          UserError: there are fewer than two clips.
        """
        if self.count < 2:
            raise UserError(
                f"a covariance needs at least 2 clips, not {self.count}; measure more clips"
            )
        return self.scatter_DD / (self.count - ddof)
