"""Single frames: JPEG bytes to pixels and back, and fitting any picture into a square.

Dimensions: H rows, W columns, C = 3 colours.
"""

import io

import numpy as np
from PIL import Image

JPEG_QUALITY = 95


def encode_jpeg(image: Image.Image) -> bytes:
    """JPEG bytes of an RGB image, at quality 95 with full-resolution colour."""
    buffer = io.BytesIO()
    # Small frames show halved colour resolution, JPEG's default, as smeared edges.
    image.save(buffer, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def decode_jpeg(data: bytes) -> np.ndarray:
    """Pixels of one JPEG frame: uint8 [H, W, C] RGB.

    Raises:
      OSError: the bytes are not a complete JPEG image.
    """
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def fit_square(image: Image.Image, size: int) -> Image.Image:
    """Crops the centre square and resizes it, antialiased, to an RGB image of `size` x `size`."""
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC, box=box)
