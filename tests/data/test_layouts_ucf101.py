"""The official lists of UCF-101 decide."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from glober_jax.data.datasets.ucf101 import Ucf101Options, list_ucf101
from glober_jax.data.media.tree import Listing
from glober_jax.errors import UserError

_TRAIN = ("Archery/v_Archery_g08_c01", "HandstandPushups/v_HandStandPushups_g08_c01")
_CLASSES = ("Archery", "HandstandPushups")
_TEST = ("Archery/v_Archery_g01_c01", "HandstandPushups/v_HandStandPushups_g01_c01")


def _write_lists(folder: Path, train: Sequence[str], test: Sequence[str], *classes: str) -> None:
    """The three files of split 1; videos as `Class/v_Class_g01_c01`."""
    folder.mkdir(parents=True)
    labels = {name: label for label, name in enumerate(classes or _CLASSES, start=1)}
    lines = "".join(f"{label} {name}\r\n" for name, label in labels.items())
    (folder / "classInd.txt").write_text(lines, newline="")
    lines = "".join(f"{name}.avi {labels[name.split('/')[0]]}\n" for name in train)
    (folder / "trainlist01.txt").write_text(lines)
    (folder / "testlist01.txt").write_text("".join(f"{name}.avi\n" for name in test))


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Four listed videos, spelt like the archive of TFDS, in folders that say otherwise."""
    root = tmp_path / "UCF101"
    for split, names in (("test", _TRAIN), ("train", _TEST)):
        for name in names:
            path = root / split / f"{Path(name).name.replace('HandStand', 'Handstand')}.avi"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return root


def _splits(listing: Listing) -> dict[str, str | None]:
    return {f"{item.class_name} {item.group[-2:]}": item.split for item in listing.items}


def _list(root: Path, **flags: object) -> Listing:
    return list_ucf101(Ucf101Options(input=str(root), **flags))


@pytest.mark.parametrize(
    "place",
    ["UCF101", "UCF101/ucfTrainTestlist", "ucfTrainTestlist", "elsewhere/ucfTrainTestlist"],
)
def test_lists_decide_wherever_they_lie(videos: Path, tmp_path: Path, place: str) -> None:
    """Fails when folders overrule the lists, a spelling matters, or labels follow the alphabet."""
    _write_lists(
        tmp_path / "made", [*_TRAIN, "Zumba/v_Zumba_g09_c01"], _TEST,
        "Zumba", "HandstandPushups", "Archery",
    )  # fmt: skip
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    for file in (tmp_path / "made").iterdir():
        file.rename(tmp_path / place / file.name)
    listing = _list(videos, lists=str(tmp_path / "elsewhere") if "else" in place else None)
    assert _splits(listing) == {
        "Archery 08": "train", "HandstandPushups 08": "train",
        "Archery 01": "test", "HandstandPushups 01": "test",
    }  # fmt: skip
    assert listing.class_names == ("Zumba", "HandstandPushups", "Archery")
    assert not listing.rejections
    assert "as trainlist01.txt and testlist01.txt in" in listing.notices[0]
    assert listing.notices[1] == "1 of the 5 videos they name are not there"


def test_without_lists_folders_decide_and_it_is_said(videos: Path) -> None:
    """Fails when a home-made split passes for the official one."""
    listing = _list(videos)
    assert _splits(listing)["Archery 08"] == "test"
    assert listing.class_names == ("Archery", "HandstandPushups")
    assert "not the official split, but by the input's folders" in listing.notices[0]
    (videos / "test").rename(videos / "more")
    listing = _list(videos / "more")
    assert set(_splits(listing).values()) == {None}
    assert "by groups, of which some are held out" in listing.notices[0]


@pytest.mark.parametrize(
    ("file", "content", "flags", "message"),
    [
        ("trainlist01.txt", "", {"split": 4}, "--split must be 1, 2 or 3, not 4"),
        ("testlist01.txt", None, {}, "testlist01.txt cannot be read: No such file"),
        ("classInd.txt", "0 Archery", {}, "classInd.txt does not number its classes 1, 2, 3"),
        ("classInd.txt", "Archery", {}, "classInd.txt, line 1, is no line of UCF-101's lists: Arc"),
        ("trainlist01.txt", "x.avi 1 2", {}, "trainlist01.txt, line 1, is no line"),
        ("trainlist01.txt", "x/x.avi 1", {"lists": "."}, "--lists=. holds no trainlist01.txt"),
    ],
)
def test_mistakes_in_lists_are_named(
    videos: Path, tmp_path: Path, file: str, content: str | None, flags: dict, message: str
) -> None:
    """Fails when damaged lists end in a stack trace, or in another split than asked for."""
    lists = tmp_path / "ucfTrainTestlist"
    _write_lists(lists, _TRAIN, _TEST)
    (lists / file).unlink() if content is None else (lists / file).write_text(content)
    with pytest.raises(UserError, match=message):
        _list(videos, **flags)


def test_what_lists_do_not_name_is_rejected(videos: Path, tmp_path: Path) -> None:
    """Fails when videos of no split or no class get in, or lists of something else leave none."""
    lists = tmp_path / "ucfTrainTestlist"
    _write_lists(lists, _TRAIN, _TEST[:1])
    (lists / "classInd.txt").write_text("1 Archery\n")
    assert dict(_list(videos).rejections) == {
        "train/v_HandstandPushups_g01_c01.avi": "is named neither in trainlist01.txt nor in "
        "testlist01.txt",
        "test/v_HandstandPushups_g08_c01.avi": "its class HandstandPushups is not in classInd.txt",
    }
    (lists / "trainlist01.txt").write_text("v_YoYo_g08_c01.avi")
    (lists / "testlist01.txt").write_text("v_YoYo_g01_c01.avi")
    with pytest.raises(UserError, match=r"name none of the videos in --input=.*: test/v_Arch"):
        _list(videos)
