"""Pictures of a notebook: videos that play, maps whose colours mean something."""

import base64
import io
import re

import av
import numpy as np
from PIL import Image

from glober_jax.notebook.pictures import channels, colours, play, sheet, show


def test_videos_play_under_their_titles() -> None:
    """Fails when a player lacks a video, a frame or its title, or a title becomes HTML."""
    videos = {
        "a < b": np.zeros((5, 16, 16, 3), np.uint8),
        "white": np.full((3, 8, 8, 3), 255, np.uint8),
    }
    page = play(videos, fps=8).data
    assert re.findall("<figcaption>(.*?)</figcaption>", page) == ["a &lt; b", "white"]
    found = [base64.b64decode(data) for data in re.findall(r"video/mp4;base64,([^\"]+)", page)]
    lengths = []
    for data in found:
        with av.open(io.BytesIO(data)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert frames[0].shape == (192, 192, 3)
        lengths.append(len(frames))
    assert lengths == [5, 3] and frames[0].mean() > 250


def test_colours_are_the_main_directions_of_all_maps() -> None:
    """Fails when maps get colours of their own, or a rotation of the channels changes them."""
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((2, 6, 6, 5)) * [5, 3, 2, 0.1, 0.1] + 7
    pixels = colours(maps).astype(float)
    assert pixels.shape == (2, 6, 6, 3)
    for k in range(3):
        assert abs(np.corrcoef(pixels[..., k].ravel(), maps[..., k].ravel())[0, 1]) > 0.95
    rotation = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    rotated = colours(maps @ rotation).astype(float)
    assert np.minimum(np.abs(rotated - pixels), np.abs(255 - rotated - pixels)).max() <= 1
    assert colours(np.ones((3, 3, 2))).std() == 0


def test_channels_show_their_sign() -> None:
    """Fails when a channel is missing or red is not above zero."""
    x = np.stack([np.full((4, 4), value) for value in (-3.0, 0.0, 3.0)], axis=-1)
    picture = channels(x, columns=3)
    middle = picture[picture.shape[0] // 2]
    blue, white, red = (middle[column] for column in (5, len(middle) // 2, -5))
    assert blue[2] == 255 and blue[0] < 150 and red[0] == 255 and red[2] < 150
    assert (white == 255).all()


def test_rows_of_any_size_make_a_sheet() -> None:
    """Fails when maps and frames of other sizes do not stand under each other."""
    rows = {"map": np.zeros((2, 3, 3, 3), np.uint8), "frame": np.full((2, 40, 40, 3), 9, np.uint8)}
    picture = sheet(rows, size=60)
    assert len(picture) == 122
    assert (picture[30, -30] == 0).all() and (picture[90, -30] == 9).all()
    assert Image.open(io.BytesIO(show(picture).data)).size == picture.shape[1::-1]
