"""Reconstructions that need no decoder: baselines beside those of a model.

Dimension key: N clips, T frames, K key frames, H, W frame size, C colours or channels.
"""

import numpy as np


def repeat_middle(key_frames_NKHWC: np.ndarray, num_frames: int) -> np.ndarray:
    """The middle key frame, repeated: [N, T, H, W, C]."""
    middle = key_frames_NKHWC[:, key_frames_NKHWC.shape[1] // 2]
    return np.repeat(middle[:, None], num_frames, axis=1)


def blend(keys_NKHWC: np.ndarray, key_positions_K: np.ndarray, num_frames: int) -> np.ndarray:
    """Linear interpolation in time, the last key held: float32 [N, T, H, W, C].

    Args:
      keys_NKHWC: pixels or latents.
      key_positions_K: their places in the clip, ascending from 0, where they are kept as given.
      num_frames: T.
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


def repeat_image(image_HWC: np.ndarray, like_NTHWC: np.ndarray) -> np.ndarray:
    """One image in place of every frame, [N, T, H, W, C]; the mean image is the usual choice."""
    return np.broadcast_to(np.round(image_HWC).astype(np.uint8), like_NTHWC.shape)
