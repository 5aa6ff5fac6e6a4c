"""The Frechet distance between two sets of features, as if each were Gaussian.

    d² = |m1 - m2|² + tr(S1) + tr(S2) - 2 tr((S1 S2)^½)

(Dowson & Landau 1982). On I3D logits it is FVD (Unterthiner et al. 2018, arXiv 1812.01717). It
grows as the sets get smaller, about as 1/N, so only distances at equal N compare.
Dimension key: N, M clips, D features, R rows of a factor.
"""

import numpy as np

from glober_jax.errors import UserError
from glober_jax.evaluation.distances.features import check_features
from glober_jax.evaluation.distances.moments import Moments


def frechet_distance(x_ND: np.ndarray, y_MD: np.ndarray, ddof: int) -> float:
    """The distance d² of two sets of features, at least 0; exact also for fewer clips than D.

    Args:
      x_ND, y_MD: features, at least two clips each.
      ddof: covariances divide by N - ddof: 0 in StyleGAN-V, 1 in TF-GAN, DIGAN, TATS.

    Raises:
      UserError: see `check_features`.
    """
    x_ND, y_MD = check_features(x_ND, y_MD)
    return _distance(
        x_ND.mean(axis=0) - y_MD.mean(axis=0), _factor(x_ND, ddof), _factor(y_MD, ddof)
    )


def frechet_from_moments(a: Moments, b: Moments, ddof: int) -> float:
    """`frechet_distance` of sets of which only the moments were kept.

    Raises:
      UserError: a set has fewer than two clips, or they differ in their number of features.
    """
    if a.mean_D.shape != b.mean_D.shape:
        raise UserError(
            f"the two sets have {a.mean_D.size} and {b.mean_D.size} features a clip; measure both "
            "with the same network"
        )
    factors = (_factor_of_covariance(moments.covariance_DD(ddof)) for moments in (a, b))
    return _distance(a.mean_D - b.mean_D, *factors)


def _distance(shift_D: np.ndarray, factor_RD: np.ndarray, other_RD: np.ndarray) -> float:
    """d² from factors F with FᵀF = S.

    The eigenvalues of S1 S2 are the squared singular values of F1 F2ᵀ, so the trace of the root is
    their sum: real, and free of the root of a matrix that is singular for N <= D.
    """
    root = np.linalg.svd(factor_RD @ other_RD.T, compute_uv=False).sum()
    traces = np.square(factor_RD).sum() + np.square(other_RD).sum()
    # Equal sets differ from 0 by rounding, on either side.
    return max(float(np.square(shift_D).sum() + traces - 2.0 * root), 0.0)


def _factor(x_ND: np.ndarray, ddof: int) -> np.ndarray:
    centred_ND = (x_ND - x_ND.mean(axis=0)) / np.sqrt(len(x_ND) - ddof)
    return np.linalg.qr(centred_ND, mode="r")


def _factor_of_covariance(covariance_DD: np.ndarray) -> np.ndarray:
    values_D, vectors_DD = np.linalg.eigh(covariance_DD)
    # Where the covariance is singular eigh returns rounding errors; their roots would be large.
    kept = values_D > values_D.max() * len(values_D) * np.finfo(np.float64).eps
    return np.sqrt(values_D[kept])[:, None] * vectors_DD[:, kept].T
