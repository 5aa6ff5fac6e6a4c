"""The kernel distance: squared maximum mean discrepancy with a polynomial kernel.

    k(x, y) = (x·y / D + 1)³
    MMD² = mean_{i≠j} k(x_i, x_j) + mean_{i≠j} k(y_i, y_j) - 2 mean_{ij} k(x_i, y_j)

(Binkowski et al. 2018, arXiv 1801.01401). Unlike the Frechet distance it is unbiased: equal
distributions score 0 on average at any N, and sometimes below. On I3D logits it is KVD.
Dimension key: N, M clips, D features.
"""

import numpy as np

from glober_jax.evaluation.metrics.features import check_features


def kernel_distance(x_ND: np.ndarray, y_MD: np.ndarray) -> float:
    """MMD² of two sets of at least two clips; raises as `check_features`."""
    x_ND, y_MD = check_features(x_ND, y_MD)
    return _mean_of_pairs(x_ND) + _mean_of_pairs(y_MD) - 2.0 * float(_kernel(x_ND, y_MD).mean())


def _kernel(x_ND: np.ndarray, y_MD: np.ndarray) -> np.ndarray:
    return (x_ND @ y_MD.T / x_ND.shape[1] + 1.0) ** 3


def _mean_of_pairs(x_ND: np.ndarray) -> float:
    kernel_NN = _kernel(x_ND, x_ND)
    return float((kernel_NN.sum() - np.trace(kernel_NN)) / (len(x_ND) * (len(x_ND) - 1)))
