"""Resizes frames for the networks of evaluation: square, of one size, in [-1, 1].

Dimension key: ... any leading axes, H, W frame size, S the network's size, C colours.
"""

import jax

from glober_jax.evaluation.protocols import Resize
from glober_jax.models.frame_codec import normalise_frames


def preprocess(frames_HWC: jax.Array, size: int, resize: Resize) -> jax.Array:
    """Frames uint8 [..., H, W, C] as float32 [..., S, S, C] in [-1, 1], x / 127.5 - 1.

    Bilinear with half-pixel centres and without low-pass filter, as in the evaluations that
    published scores come from; a filter would change scores of larger frames.

    Args:
      frames_HWC: any number of leading axes.
      size: S, pixels along a side.
      resize: "stretch" scales height and width each to S, as StyleGAN-V and TATS do; "crop" scales
        the shorter one to S, the longer one in proportion (rounded up), and takes the centre, as
        VideoGPT and DIGAN do.
    """
    *leading, height, width, channels = frames_HWC.shape
    target = (size, size)
    if resize == "crop":
        target = tuple(-(-side * size // min(height, width)) for side in (height, width))
    x = normalise_frames(frames_HWC)
    if target != (height, width):
        x = jax.image.resize(x, (*leading, *target, channels), "bilinear", antialias=False)
    top, left = ((side - size) // 2 for side in target)
    return x[..., top : top + size, left : left + size, :]
