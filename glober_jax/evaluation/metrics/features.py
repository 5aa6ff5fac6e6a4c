"""Checks of two sets of features before their distance. Dimension key: N, M clips, D features."""

import numpy as np

from glober_jax.errors import UserError


def check_features(
    x_ND: np.ndarray, y_MD: np.ndarray, *, at_least: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Both sets as float64; `UserError` where a set has too few clips or features not finite."""
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
                f"NaN or infinite, the first is clip {broken[0]}; look for damaged or diverged "
                "clips"
            )
    return np.asarray(x_ND, np.float64), np.asarray(y_MD, np.float64)
