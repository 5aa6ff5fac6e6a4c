"""Linear interpolation in time between key frames, the baseline of the decoder.

Dimension key: N clips, T frames, K key frames, H, W frame size, C colours or channels.
"""

import numpy as np


def blend(keys_NKHWC: np.ndarray, key_positions_K: np.ndarray, num_frames: int) -> np.ndarray:
    """Pixels or latents float32 [N, T, H, W, C] between keys at ascending positions from 0.

    The last key is held until the end.
    """
    places_T, one_hot_KK = np.arange(num_frames), np.eye(len(key_positions_K))
    weights_KT = np.stack([np.interp(places_T, key_positions_K, row_K) for row_K in one_hot_KK])
    blended = np.tensordot(
        weights_KT.astype(np.float32), keys_NKHWC.astype(np.float32), axes=[(0,), (1,)]
    )
    return np.moveaxis(blended, 0, 1)


def interpolate(
    key_frames_NKHWC: np.ndarray, key_positions_K: np.ndarray, num_frames: int
) -> np.ndarray:
    """`blend` of key frames, rounded: uint8 [N, T, H, W, C]."""
    return np.round(blend(key_frames_NKHWC, key_positions_K, num_frames)).astype(np.uint8)
