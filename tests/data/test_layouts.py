"""Which files are videos, of which split, class and group, and in which order."""

import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from glober_jax.data.datasets.make import DATASETS, make_dataset
from glober_jax.data.media.tree import Listing, kind_of, order_frames, video_prefixes
from glober_jax.errors import UserError
from tests.data.videos import stored_videos, touch, write_frames, write_video

LISTERS = ("sky_timelapse", "ucf101", "taichi_hd", "webvid")


def _list(dataset: str, root: Path) -> Listing:
    kind = DATASETS[dataset]
    return kind.list_inputs(kind.options(input=str(root)))


@dataclass(frozen=True)
class Case:
    """Files, what is listed for them (id, split, class, group), and what is rejected."""

    dataset: str
    files: tuple[str, ...]
    items: list[tuple[str, str | None, str | None, str]]
    rejected: tuple[str, ...] = ()


_FILM, _FILM2 = "-bCdEfGh_Jk", "NigHtSky0_1"

CASES = {
    "sky, nested, below the archive's folder": Case(
        "sky_timelapse",
        (f"sky/sky_train/{_FILM}/{_FILM}_2/{_FILM}_frames_00000010.jpg",
         f"sky/sky_train/{_FILM}/{_FILM}_10/{_FILM}_frames_00000010.jpg",
         f"sky/sky_test/{_FILM2}/{_FILM2}_1/{_FILM2}_frames_00000010.jpg", "sky/odd/1/1.jpg"),
        [(f"sky/sky_test/{_FILM2}/{_FILM2}_1", "test", None, _FILM2),
         (f"sky/sky_train/{_FILM}/{_FILM}_2", "train", None, _FILM),
         (f"sky/sky_train/{_FILM}/{_FILM}_10", "train", None, _FILM)],
        ("sky/odd/1",),
    ),
    "sky, frames of whole films": Case(
        "sky_timelapse",
        ("train/a/frame00000.png", "val/b/frame00000.PNG", "val/empty/Thumbs.db"),
        [("train/a", "train", None, ""), ("val/b", "test", None, "")],
        ("val/empty",),
    ),
    "sky, flat": Case(
        "sky_timelapse",
        (f"{_FILM}_1/000000.jpg", f"{_FILM}_2/000000.jpg", f"{_FILM2}_1/000000.jpg",
         "_broken_clips/x/000000.jpg", "alone/000000.jpg"),
        [(f"{_FILM}_1", None, None, _FILM), (f"{_FILM}_2", None, None, _FILM),
         (f"{_FILM2}_1", None, None, _FILM2), ("alone", None, None, "")],
    ),
    "sky, all named alike": Case(
        "sky_timelapse",
        ("video_clips_0001/0.jpg", "video_clips_0002/0.jpg"),
        [("video_clips_0001", None, None, ""), ("video_clips_0002", None, None, "")],
    ),
    "sky, scenes mixed in one folder": Case(
        "sky_timelapse",
        (f"all/{_FILM}_1_frames_00000009.jpg", f"all/{_FILM}_1_frames_00000010.jpg",
         f"all/{_FILM}_2_frames_00000001.jpg", f"all/{_FILM2}_1_00000001.jpg"),
        [(f"all/{_FILM}_1", None, None, _FILM), (f"all/{_FILM}_2", None, None, _FILM),
         (f"all/{_FILM2}_1", None, None, _FILM2)],
    ),
    "sky, video files": Case(
        "sky_timelapse",
        (f"train/{_FILM}_1.MP4", f"test/{_FILM2}_1.mp4", "test/._x.mp4", "stray.mp4"),
        [(f"test/{_FILM2}_1.mp4", "test", None, _FILM2),
         (f"train/{_FILM}_1.MP4", "train", None, _FILM)],
        ("stray.mp4",),
    ),
    "ucf, flat, both spellings": Case(
        "ucf101",
        ("UCF101/v_HandStandPushups_g01_c01.avi", "UCF101/v_HandstandPushups_g02_c01.AVI",
         "UCF101/v_YoYo_g01_c02.avi", "copy/v_yoyo_g01_c02.avi", "UCF101/notes.avi"),
        [("UCF101/v_HandStandPushups_g01_c01.avi", None, "HandstandPushups",
          "HandstandPushups_g01"),
         ("UCF101/v_HandstandPushups_g02_c01.AVI", None, "HandstandPushups",
          "HandstandPushups_g02"),
         ("UCF101/v_YoYo_g01_c02.avi", None, "YoYo", "YoYo_g01")],
        ("copy/v_yoyo_g01_c02.avi", "UCF101/notes.avi"),
    ),
    "ucf, folders of frames": Case(
        "ucf101",
        ("train/v_YoYo_g08_c01/0001.jpg", "test/v_YoYo_g01_c01/0001.jpg",
         "test/v_YoYo_g01_c02/.DS_Store"),
        [("test/v_YoYo_g01_c01", "test", "YoYo", "YoYo_g01"),
         ("train/v_YoYo_g08_c01", "train", "YoYo", "YoYo_g08")],
        ("test/v_YoYo_g01_c02",),
    ),
    "webvid, page folders": Case(
        "webvid",
        ("p1/1.mp4", "val/2.MP4", "train/3.mov"),
        [("train/3.mov", "train", None, ""), ("val/2.MP4", "test", None, "")],
        ("p1/1.mp4",),
    ),
    "taichi, files and folders": Case(
        "taichi_hd",
        ("train/a#1_b#000001#000200.mp4", "train/a#1_b#000300#000400.mp4",
         "test/film_000001_000200/0000000.png", "test/film_7.mp4"),
        [("test/film_000001_000200", "test", None, "film"), ("test/film_7.mp4", "test", None, ""),
         ("train/a#1_b#000001#000200.mp4", "train", None, "a#1_b"),
         ("train/a#1_b#000300#000400.mp4", "train", None, "a#1_b")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_layouts(name: str, tmp_path: Path) -> None:
    """Fails when split, class or group is read from the wrong part of a path, or 10 precedes 2."""
    case = CASES[name]
    touch(tmp_path, *case.files)
    if case.dataset == "webvid":
        for file in case.files:
            (tmp_path / file).with_suffix(".txt").write_text("a caption")
    listing = _list(case.dataset, tmp_path)
    assert [(i.video_id, i.split, i.class_name, i.group) for i in listing.items] == case.items
    assert dict(listing.rejections).keys() == {*case.rejected}


@pytest.mark.parametrize("dataset", LISTERS)
def test_layouts_become_datasets(dataset: str, tmp_path: Path) -> None:
    """Fails when what is listed cannot be decoded, or an option of the dataset breaks it."""
    case = next(case for case in CASES.values() if case.dataset == dataset)
    for file in case.files:
        path = tmp_path / "in" / file
        if kind_of(file) == "image":
            write_frames(path.parent, 4, lambda i, path=path: f"{path.stem}{i}{path.suffix}")
        else:
            write_video(path, 4)
        path.with_suffix(".txt").write_text("a caption")
    options = DATASETS[dataset].options(input=str(tmp_path / "in"), size=8, min_frames=4)
    card = make_dataset(options, tmp_path / "out")
    assert card["accepted"] == len(case.items)
    assert {entry["video"] for entry in card["rejected"]} == {*case.rejected}
    stored = {name.split("[")[0] for name in stored_videos(tmp_path / "out")}
    assert stored == {item[0] for item in case.items}


def test_films_in_both_splits_are_named(tmp_path: Path) -> None:
    """Fails when scenes of one film on both sides go unnoticed."""
    scenes = (("train", _FILM, 1), ("test", _FILM, 2), ("train", _FILM2, 1))
    files = [f"{split}/{film}/{film}_{number}/0.jpg" for split, film, number in scenes]
    (notice,) = _list("sky_timelapse", touch(tmp_path, *files)).notices
    assert f"1 films have scenes in both the train and the test folder, as {_FILM}" in notice


def test_names_that_are_no_utf_8_can_be_stored(tmp_path: Path) -> None:
    """Fails when a name of other bytes ends in an error, here or in the writer."""
    listing = _list("taichi_hd", touch(tmp_path, "a\udcff.mp4", "b.mp4"))
    assert [item.video_id for item in listing.items] == ["a\\xff.mp4", "b.mp4"]


@pytest.mark.parametrize("dataset", LISTERS)
def test_no_videos_is_one_sentence(dataset: str, tmp_path: Path) -> None:
    """Fails when a missing, empty or wrong input ends in a stack trace or an empty dataset."""
    touch(tmp_path, "in/notes.txt", "packed.zip")
    (tmp_path / "in" / "empty").mkdir()
    for name, message in (
        ("none", "none is not a folder"),
        ("in", "in holds no videos: expected "),
        ("packed.zip", "packed.zip is not a folder: .* unpack it first"),
    ):
        with pytest.raises(UserError, match=message):
            _list(dataset, tmp_path / name)


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
    """Fails when a number does not count, is rounded, or a second order goes unmentioned."""
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
