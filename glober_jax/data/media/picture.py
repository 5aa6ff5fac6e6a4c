"""Decoded pictures as a viewer shows them: 8 bits a colour, upright, with square pixels.

Every reader of pictures takes depth, orientation and pixel shape from here.
"""

import av
import numpy as np
from PIL import Image, ImageOps

# A TIFF file's number of bits of a value, and how a camera was held.
_BITS_PER_SAMPLE = 258


def of_image(image: Image.Image) -> Image.Image:
    """The RGB picture of an image file; 16-bit grey values are divided by 257, alpha is dropped.

    Raises:
      ValueError: the range of its values is unknown, or it holds several pictures.
      OSError, SyntaxError, EOFError: the file is damaged.
    """
    # Phones put a second, smaller picture into a JPEG file.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise ValueError(
            f"it holds {image.n_frames} pictures, not one: make it a video file, or a file of each"
        )
    # A copy would not say of which format it was.
    ImageOps.exif_transpose(image, in_place=True)
    return _eight_bit(image).convert("RGB")


def of_video(frame: av.VideoFrame, stream: av.VideoStream) -> Image.Image:
    """The RGB picture that a player shows of a decoded frame.

    Pixels that are not square are made so by enlarging, before the picture is turned.
    """
    image = frame.to_image()
    if (aspect := stream.sample_aspect_ratio or 1) != 1:
        width, height = image.size
        size = (width * aspect, height) if aspect > 1 else (width, height / aspect)
        image = image.resize([round(side) for side in size], Image.Resampling.BICUBIC)
    return image.rotate(frame.rotation, expand=True) if frame.rotation else image


def _eight_bit(image: Image.Image) -> Image.Image:
    """The image with 8 bits a value; Pillow alone cuts off what is above 255."""
    # Pillow stretches the values of PGM files to 16 bits.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))[0]
        scaled = np.asarray(image, np.float32) * (255 / (2**bits - 1))
        return Image.fromarray(scaled.round().astype(np.uint8))
    if image.mode in ("I", "F"):
        kind = "32-bit integers" if image.mode == "I" else "floating-point numbers"
        raise ValueError(f"its values are {kind}, whose range is unknown: store 8 or 16 bits")
    if image.mode == "P":
        # Says nothing of transparent entries, which Pillow warns about.
        return image.convert("RGBA")
    return image
