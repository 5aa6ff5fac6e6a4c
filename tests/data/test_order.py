"""The order of names that hold numbers."""

import random

import pytest

from glober_jax.data.media.order import order_frames, video_prefixes


@pytest.mark.parametrize(
    ("names", "doubt"),
    [
        ([f"frame_{i}_256x256.jpg" for i in range(1, 21)], ""),
        ([f"frame_{i / 4:.2f}.jpg" for i in range(50)], ""),
        ([f"00_{i // 60:02d}_{i % 60:02d}.jpg" for i in range(15, 200)], ""),
        ([f"shot{shot}_{i}.png" for shot in (9, 10) for i in range(12)], ""),
        ([f"{16 * 10**17 + i}.png" for i in range(30)], ""),
        ([f"{name}_{i}.JPG" for i, name in enumerate(["IMG", "img", "Img"] * 4)], ""),
        ([f"{year}.1.{day}.png" for year in (2020, 2021) for day in (2, 10)], ""),
        ([f"frame_{i / 4}.jpg" for i in range(9)], "whole numbers after a dot would put frame_0.5"),
        ([f"v0.{i}.png" for i in range(12)], "decimals would put v0.10.png before v0.2.png"),
        (["1_30.png", "2_20.png", "3_10.png"], "number 2 alone would put 3_10.png before 1_30"),
        (["0a.png", "0b.png", "01.png"], "the alphabet would put 01.png before 0a.png"),
        (["b.png"], ""),
        ([], ""),
    ],
)
def test_frames_are_ordered_by_all_numbers(names: list[str], doubt: str) -> None:
    """Fails when only one number counts, a fraction is taken for a whole number, time in
    nanoseconds is rounded, or a second possible order goes unmentioned.
    """
    shuffled = random.Random(1).sample(names, len(names))
    ordered, found = order_frames(shuffled)
    assert ordered == names
    assert found.startswith(doubt) and bool(found) == bool(doubt)


def test_videos_in_one_folder_are_told_apart_by_what_precedes_the_frame() -> None:
    """Fails when a size after the number makes every frame a video."""
    scenes = {
        f"{scene}_frames_{i:08d}{end}": scene
        for scene in ("-x3Y_1", "-x3Y_2", "sky")
        for i in (9, 10)
        for end in (".jpg", "_256x256.png")
    }
    assert video_prefixes(scenes) == scenes
