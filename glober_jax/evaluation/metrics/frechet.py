"""The Frechet distance between two sets of features, as if each were Gaussian.

    d² = |m1 - m2|² + tr(S1) + tr(S2) - 2 tr((S1 S2)^½)

(Dowson & Landau 1982). On I3D logits it is FVD (Unterthiner et al. 2018, arXiv 1812.01717). It
grows as the sets get smaller, about as 1/N, so only distances at equal N compare.
Dimension key: N, M clips, D features, R rows of a factor.
"""

import numpy as np

from glober_jax.evaluation.metrics.features import check_features


def frechet_distance(x_ND: np.ndarray, y_MD: np.ndarray, ddof: int) -> float:
    """The distance d² of sets of two clips or more, at least 0; exact also for fewer clips than D.

    Covariances divide by N - ddof: 0 in StyleGAN-V, 1 in TF-GAN, DIGAN, TATS. Raises as
    `check_features`.
    """
    x_ND, y_MD = check_features(x_ND, y_MD)
    x_RD, y_RD = _factor(x_ND, ddof), _factor(y_MD, ddof)
    # The eigenvalues of S1 S2 are the squared singular values of F1 F2ᵀ, where FᵀF = S: the trace
    # of the root is their sum, and needs no root of a matrix that is singular for N <= D.
    root = np.linalg.svd(x_RD @ y_RD.T, compute_uv=False).sum()
    traces = np.square(x_RD).sum() + np.square(y_RD).sum()
    shift_D = x_ND.mean(axis=0) - y_MD.mean(axis=0)
    # Equal sets differ from 0 by rounding, on either side.
    return max(float(np.square(shift_D).sum() + traces - 2.0 * root), 0.0)


def _factor(x_ND: np.ndarray, ddof: int) -> np.ndarray:
    """F [R, D] with FᵀF the covariance."""
    centred_ND = (x_ND - x_ND.mean(axis=0)) / np.sqrt(len(x_ND) - ddof)
    return np.linalg.qr(centred_ND, mode="r")
