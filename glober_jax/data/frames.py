"""Single frames: JPEG bytes to pixels and back, and fitting any picture into a square.

Dimensions: H rows, W columns, C = 3 colours.
"""

import io
from typing import Literal

import numpy as np
import simplejpeg
from PIL import Image, ImageOps

Fit = Literal["crop", "letterbox"]

# A picture of one colour has at most 37.
_MOST_PIXELS_PER_BYTE = 100


def encode_jpeg(image: Image.Image, quality: int = 95) -> bytes:
    """JPEG bytes of an RGB image, at a quality of 1 to 100 and with full-resolution colour."""
    buffer = io.BytesIO()
    # JPEG's default, half the colour resolution, decodes a quarter faster but costs 2.5 dB in real
    # frames of 256x256.
    image.save(buffer, format="JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def decode_jpeg(data: bytes, out: np.ndarray | None = None) -> np.ndarray:
    """Pixels of one JPEG file, grey and CMYK ones included: uint8 [H, W, C] RGB.

    Decodes into `out` where given, a contiguous array of that shape. Raises ValueError where the
    bytes are not a complete, undamaged JPEG image, or `out` has another shape.
    """
    if out is None:
        jpeg_shape(data)
    # Decodes the same pixels as Pillow, in two thirds of the time, and lets other threads run.
    frame_HWC = simplejpeg.decode_jpeg(data, "RGB", buffer=out, strict=True)
    if out is not None and frame_HWC.shape != out.shape:
        found, wanted = (f"{array.shape[0]}x{array.shape[1]}" for array in (frame_HWC, out))
        raise ValueError(f"{found} pixels where {wanted} were expected")
    return frame_HWC


def jpeg_shape(data: bytes) -> tuple[int, int, int]:
    """(H, W, C) of a JPEG frame, from its header alone; raises ValueError as `decode_jpeg`."""
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    if height * width > _MOST_PIXELS_PER_BYTE * len(data):
        # A damaged header; decoding it would fill the memory with grey.
        raise ValueError(f"{len(data)} bytes for {width}x{height} pixels")
    return height, width, 3


def fit_square(image: Image.Image, size: int, fit: Fit = "crop") -> Image.Image:
    """Resizes a picture of any shape, antialiased, to an RGB image of `size` x `size`.

    "crop" scales the short side and keeps the centre; "letterbox" scales the long side and fills up
    with black.
    """
    image = image.convert("RGB")
    if fit == "crop":
        return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    scale = size / max(image.size)
    # A very long picture must not vanish.
    width, height = (max(round(side * scale), 1) for side in image.size)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    square = Image.new("RGB", (size, size))
    square.paste(resized, ((size - width) // 2, (size - height) // 2))
    return square
