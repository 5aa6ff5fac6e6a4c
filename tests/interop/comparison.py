"""How far computed arrays are from recorded ones."""

import numpy as np


def relative_error(out: np.ndarray, expected: np.ndarray) -> float:
    """‖out - expected‖ / ‖expected‖ over all elements."""
    return float(np.linalg.norm(out - expected) / np.linalg.norm(expected))
