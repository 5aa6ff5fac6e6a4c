"""Reconstruction quality of held-out clips, beside baselines that need no training.

Dimension key: N clips, T frames, K key frames, H, W frame size, C colours. All frames are uint8.
"""

import numpy as np

# A clip that is reproduced exactly counts as half a grey level of error, not as infinity.
_MAX_PSNR = 10.0 * np.log10(255.0**2 / 0.25)


def squared_error(frames: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Mean squared error of each frame, in grey levels²: [..., H, W, C] -> float64 [...]."""
    difference = frames.astype(np.float32) - reference.astype(np.float32)
    return np.square(difference).mean(axis=(-3, -2, -1), dtype=np.float64)


def psnr(error: np.ndarray) -> np.ndarray:
    """PSNR in dB, 10 log10(255² / MSE), of mean squared errors in grey levels²; capped."""
    return np.minimum(10.0 * np.log10(255.0**2 / np.maximum(error, 1e-12)), _MAX_PSNR)


def clip_psnr(frames_NTHWC: np.ndarray, reference_NTHWC: np.ndarray) -> np.ndarray:
    """PSNR in dB of each clip, 10 log10(255² / MSE over all its frames), float64 [N], capped."""
    return psnr(squared_error(frames_NTHWC, reference_NTHWC).mean(axis=1))


def pooled_psnr(psnr_NT: np.ndarray) -> np.ndarray:
    """`clip_psnr` [N] from the PSNR of single frames [N, T].

    A mean over frames would say little of clips with exact ones: such a frame counts as 54 dB.
    """
    return psnr((255.0**2 / 10 ** (psnr_NT / 10)).mean(axis=1))


def repeat_middle(key_frames_NKHWC: np.ndarray, num_frames: int) -> np.ndarray:
    """The middle key frame, repeated: [N, T, H, W, C]."""
    middle = key_frames_NKHWC[:, key_frames_NKHWC.shape[1] // 2]
    return np.repeat(middle[:, None], num_frames, axis=1)


def blend(keys_NKHWC: np.ndarray, key_positions_K: np.ndarray, num_frames: int) -> np.ndarray:
    """Linear interpolation in time between pixels or latents, the last one held: [N, T, H, W, C].

    Args:
      keys_NKHWC: of any kind of numbers.
      key_positions_K: their places in the clip, ascending from 0.
      num_frames: T.

    Returns:
      float32, at the K places the given numbers themselves.
    """
    right = np.searchsorted(key_positions_K, np.arange(num_frames), side="right")
    right = np.clip(right, 1, len(key_positions_K) - 1) if len(key_positions_K) > 1 else right * 0
    left = np.maximum(right - 1, 0)
    gap = np.maximum(key_positions_K[right] - key_positions_K[left], 1)
    weight = np.clip((np.arange(num_frames) - key_positions_K[left]) / gap, 0.0, 1.0)
    weight = weight.astype(np.float32)[None, :, None, None, None]
    return keys_NKHWC[:, left] * (1 - weight) + keys_NKHWC[:, right] * weight


def interpolate(
    key_frames_NKHWC: np.ndarray, key_positions_K: np.ndarray, num_frames: int
) -> np.ndarray:
    """`blend` of key frames, rounded: uint8 [N, T, H, W, C]."""
    return np.round(blend(key_frames_NKHWC, key_positions_K, num_frames)).astype(np.uint8)


def repeat_image(image_HWC: np.ndarray, like_NTHWC: np.ndarray) -> np.ndarray:
    """One image in place of every frame, [N, T, H, W, C]; the mean image is the usual choice."""
    return np.broadcast_to(np.round(image_HWC).astype(np.uint8), like_NTHWC.shape)
