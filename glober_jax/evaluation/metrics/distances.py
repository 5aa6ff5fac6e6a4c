"""Distances between two sets of features: Fréchet distance and kernel distance.

Fréchet (Dowson & Landau 1982): d² = |m1 - m2|² + tr(S1) + tr(S2) - 2 tr((S1 S2)^½), the distance of
the Gaussians with the sets' means and covariances. On I3D logits it is FVD (Unterthiner et al.
2018, arXiv 1812.01717). Its bias is about proportional to 1/N: compare only at equal N.

Kernel (Binkowski et al. 2018, arXiv 1801.01401): MMD² = mean_{i≠j} k(x_i, x_j) + mean_{i≠j}
k(y_i, y_j) - 2 mean_{ij} k(x_i, y_j) with k(x, y) = (x·y / D + 1)³. It is unbiased, so equal
distributions score 0 on average, and sometimes less. On I3D logits it is KVD.

Dimension key: N, M clips, D features, R rows of a covariance factor.
"""

import numpy as np

from glober_jax.errors import UserError


def frechet_distance(x_ND: np.ndarray, y_MD: np.ndarray, ddof: int) -> float:
    """d² >= 0, exact also for fewer clips than features; raises as `check_features`.

    Covariances divide by N - ddof: 0 in StyleGAN-V; 1 in TF-GAN, DIGAN, TATS.
    """
    x_ND, y_MD = check_features(x_ND, y_MD)
    x_RD, y_RD = _covariance_factor(x_ND, ddof), _covariance_factor(y_MD, ddof)
    # With S = FᵀF, the eigenvalues of S1 S2 are the squared singular values of F1 F2ᵀ. Their sum is
    # the trace of the root, without the root of a matrix that is singular for N <= D.
    root = np.linalg.svd(x_RD @ y_RD.T, compute_uv=False).sum()
    traces = np.square(x_RD).sum() + np.square(y_RD).sum()
    shift_D = x_ND.mean(axis=0) - y_MD.mean(axis=0)
    # Rounding can make the distance of equal sets negative.
    return max(float(np.square(shift_D).sum() + traces - 2.0 * root), 0.0)


def kernel_distance(x_ND: np.ndarray, y_MD: np.ndarray) -> float:
    """MMD², which may be negative; raises as `check_features`."""
    x_ND, y_MD = check_features(x_ND, y_MD)
    return _mean_of_pairs(x_ND) + _mean_of_pairs(y_MD) - 2.0 * float(_kernel(x_ND, y_MD).mean())


def check_features(
    x_ND: np.ndarray, y_MD: np.ndarray, *, at_least: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Both sets as float64; `UserError` for fewer than `at_least` clips or non-finite features."""
    for name, features in (("first", x_ND), ("second", y_MD)):
        if len(features) < at_least:
            raise UserError(
                f"the {name} set has {len(features)} clips, but this needs at least {at_least}; "
                "measure more clips"
            )
        broken = np.flatnonzero(~np.isfinite(features).all(axis=1))
        if broken.size:
            raise UserError(
                f"{broken.size} of {len(features)} clips in the {name} set have features that are "
                f"NaN or infinite, the first is clip {broken[0]}; look for damaged clips"
            )
    return np.asarray(x_ND, np.float64), np.asarray(y_MD, np.float64)


def _covariance_factor(x_ND: np.ndarray, ddof: int) -> np.ndarray:
    """F [R, D] with FᵀF the covariance."""
    centred_ND = (x_ND - x_ND.mean(axis=0)) / np.sqrt(len(x_ND) - ddof)
    return np.linalg.qr(centred_ND, mode="r")


def _kernel(x_ND: np.ndarray, y_MD: np.ndarray) -> np.ndarray:
    return (x_ND @ y_MD.T / x_ND.shape[1] + 1.0) ** 3


def _mean_of_pairs(x_ND: np.ndarray) -> float:
    kernel_NN = _kernel(x_ND, x_ND)
    return float((kernel_NN.sum() - np.trace(kernel_NN)) / (len(x_ND) * (len(x_ND) - 1)))
