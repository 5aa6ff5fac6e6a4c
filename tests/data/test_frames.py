"""JPEG frames in and out, against Pillow, and pictures of any shape made square."""

import io

import numpy as np
import pytest
from PIL import Image

from glober_jax.data.frames import decode_jpeg, encode_jpeg, fit_square, jpeg_shape


def _picture(width: int = 48, height: int = 32) -> Image.Image:
    """Smooth colours with a little noise, so that no two JPEG blocks are alike."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def _saved(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=90, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("options", [{"subsampling": 0}, {"subsampling": 2}, {"progressive": True}])
def test_pixels_are_those_of_pillow(options: dict) -> None:
    """Fails when another JPEG decoder's pixels come out."""
    data = _saved(_picture(), **options)
    expected = np.asarray(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(decode_jpeg(data), expected)
    out = np.zeros((2, *jpeg_shape(data)), np.uint8)
    decode_jpeg(data, out=out[1])
    np.testing.assert_array_equal(out[1], expected)
    assert not out[0].any()


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_every_kind_of_colour_becomes_rgb(mode: str) -> None:
    """Fails when grey frames have one channel or CMYK four."""
    data = _saved(_picture().convert(mode))
    frame_HWC = decode_jpeg(data)
    assert frame_HWC.shape == jpeg_shape(data) == (32, 48, 3)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(frame_HWC - expected).max() <= 1


def test_incomplete_frames_raise_wherever_they_end() -> None:
    """Fails when a cut frame comes back grey from the cut on."""
    data = encode_jpeg(_picture())
    for length in (0, 1, 2, 20, 200, len(data) // 2, len(data) - 1):
        with pytest.raises(ValueError):
            decode_jpeg(data[:length])
    png = io.BytesIO()
    _picture().save(png, format="PNG")
    for garbage in (b"x", bytes(1000), png.getvalue()):
        with pytest.raises(ValueError):
            decode_jpeg(garbage)


def test_quality_is_used() -> None:
    """Fails when every frame is stored alike."""
    assert len(encode_jpeg(_picture(), quality=50)) < len(encode_jpeg(_picture()))


def test_crop_keeps_the_centre() -> None:
    """Fails when the crop starts at a corner."""
    image = Image.new("RGB", (90, 30), "red")
    image.paste((0, 0, 255), (30, 0, 60, 30))
    square = np.asarray(fit_square(image, 10))
    assert square.shape == (10, 10, 3)
    assert (square[:, 1:-1] == (0, 0, 255)).all()


@pytest.mark.parametrize("shape", [(80, 40), (40, 80), (40, 40), (400, 1)])
def test_letterbox_keeps_all_of_the_picture_between_black_bars(shape: tuple[int, int]) -> None:
    """Fails when the picture is cut, distorted or off the centre."""
    square = np.asarray(fit_square(Image.new("RGB", shape, "white"), 16, fit="letterbox"))
    assert square.shape == (16, 16, 3)
    white = square.all(axis=-1)
    rows, columns = np.flatnonzero(white.any(1)), np.flatnonzero(white.any(0))
    width, height = (max(round(side * 16 / max(shape)), 1) for side in shape)
    assert (len(columns), len(rows)) == (width, height)
    assert white[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    for found, size in ((columns, width), (rows, height)):
        assert found[0] == (16 - size) // 2
