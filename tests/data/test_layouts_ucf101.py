"""The official lists of UCF-101 decide; so do the splits of a data set that TFDS has prepared."""

from pathlib import Path

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from glober_jax.data.media.catalogue import read_frames

from glober_jax.data.datasets.ucf101 import Ucf101Options, list_inputs
from glober_jax.data.frames import decode_jpeg
from glober_jax.data.media.tree import Listing
from glober_jax.errors import UserError
from tests.data.miniatures import prepared_ucf, write_ucf_lists

_TRAIN = ("Archery/v_Archery_g08_c01", "HandstandPushups/v_HandStandPushups_g08_c01")
_TEST = ("Archery/v_Archery_g01_c01", "HandstandPushups/v_HandStandPushups_g01_c01")


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
    return list_inputs(Ucf101Options(input=str(root), **flags))


@pytest.mark.parametrize(
    "place",
    ["UCF101", "UCF101/ucfTrainTestlist", "ucfTrainTestlist", "elsewhere/ucfTrainTestlist"],
)
def test_lists_decide_wherever_they_lie(videos: Path, tmp_path: Path, place: str) -> None:
    """Fails when folders overrule the lists, a spelling matters, or labels follow the alphabet.

    Broken: names compared as they are; lists looked for in the input alone.
    """
    write_ucf_lists(
        tmp_path / "made", [*_TRAIN, "Zumba/v_Zumba_g09_c01"], _TEST,
        ["Zumba", "HandstandPushups", "Archery"],
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
    """Fails when a home-made split passes for the official one (broken: no notice)."""
    listing = _list(videos)
    assert _splits(listing)["Archery 08"] == "test"
    assert listing.class_names == ("Archery", "HandstandPushups")
    assert "not the official split, but by the input's folders" in listing.notices[0]
    (videos / "test").rename(videos / "more")
    listing = _list(videos / "more")
    assert set(_splits(listing).values()) == {None}
    assert "by groups, of which some are held out" in listing.notices[0]


def test_what_lists_do_not_name_is_rejected(videos: Path, tmp_path: Path) -> None:
    """Fails when videos of no split or no class get in."""
    lists = tmp_path / "ucfTrainTestlist"
    write_ucf_lists(lists, _TRAIN, _TEST[:1])
    (lists / "classInd.txt").write_text("1 Archery\n")
    listing = _list(videos)
    assert {rejection.video_id: rejection.reason for rejection in listing.rejections} == {
        "train/v_HandstandPushups_g01_c01.avi": "is named neither in trainlist01.txt nor in "
        "testlist01.txt",
        "test/v_HandstandPushups_g08_c01.avi": "its class HandstandPushups is not in classInd.txt",
    }


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
    write_ucf_lists(lists, _TRAIN, _TEST)
    (lists / file).unlink() if content is None else (lists / file).write_text(content)
    with pytest.raises(UserError, match=message):
        _list(videos, **flags)


def test_lists_that_name_no_video_are_refused(videos: Path, tmp_path: Path) -> None:
    """Fails when lists of something else leave an empty data set."""
    write_ucf_lists(tmp_path / "ucfTrainTestlist", ["YoYo/v_YoYo_g08_c01"], ["YoYo/v_YoYo_g01_c01"])
    with pytest.raises(
        UserError, match=r"name none of the videos in --input=.*UCF101: test/v_Arch"
    ):
        _list(videos)


def test_prepared_records_are_found_with_their_labels(tmp_path: Path) -> None:
    """Fails when a record's bounds, its label or the order of its frames is misread.

    Every frame of a miniature is the one before, moved by two pixels. Broken: bounds without the
    record's header; the label read as the first field of its message.
    """
    root = prepared_ucf(tmp_path).root
    listing = _list(root)
    train = [item for item in listing.items if item.split == "train"]
    assert [item.class_name for item in train[:4]] == [
        "Archery", "HandstandPushups", "YoYo", "Archery",
    ]  # fmt: skip
    assert [item.video_id[-5:] for item in train] == [f"{n:05d}" for n in range(5)]
    images = [read_frames(item.files[0], item.record) for item in train]
    assert [len(frames) for frames in images] == [20, 20, 20, 20, 7]
    pixels = [decode_jpeg(image).astype(int) for image in images[1]]
    assert max(abs(np.roll(pixels[0], 2 * i, axis=1) - pixels[i]).mean() for i in range(20)) < 8
    assert "TFDS has prepared" in listing.notices[0]


def test_array_records_hold_the_same(tmp_path: Path) -> None:
    """Fails when ArrayRecord shards are listed or read otherwise than TFRecord ones, or damage in
    one is no sentence (broken: a record's number taken for its byte)."""
    root = prepared_ucf(tmp_path).root
    items = [item for item in _list(root).items if item.split == "train"]
    place = items[0].files[0].parent
    for split, stored in (("train", items), ("test", [])):
        shard = place / f"ucf101-{split}.array_record-00000-of-00001"
        writer = ArrayRecordWriter(str(shard), "group_size:1")
        for item in stored:
            content = item.files[0].read_bytes()[item.record.position :]
            writer.write(content[: item.record.num_bytes])
        writer.close()
        (place / shard.name.replace("array_record", "tfrecord")).unlink()
    listing = _list(root)
    assert [item.class_name for item in listing.items] == [item.class_name for item in items]
    frames = [read_frames(item.files[0], item.record) for item in listing.items]
    assert [len(images) for images in frames] == [20, 20, 20, 20, 7]
    assert len({images[0] for images in frames}) == 5
    shard.write_bytes(b"damage")
    (rejection,) = _list(root).rejections
    assert (rejection.video_id, rejection.reason[:9]) == (shard.name, "damaged: ")


def test_mistakes_in_prepared_data_are_named(tmp_path: Path) -> None:
    """Fails when another split than asked for, a part of the data, or stretched frames are taken
    in silence."""
    root = prepared_ucf(tmp_path).root
    config = root / "ucf101" / "ucf101_1"
    for flags, message in (
        ({"split": 2}, "holds split 1, not 2: pass --split=1"),
        ({"lists": "x"}, "--lists does not apply"),
    ):
        with pytest.raises(UserError, match=message):
            _list(root, **flags)
    config.rename(config.with_name("ucf101_2_256"))
    assert "stretched to 256x256" in _list(root / "ucf101", split=2).notices[1]
    place = root / "ucf101" / "ucf101_2_256" / "2.0.0"
    shard = place / "ucf101-test.tfrecord-00000-of-00001"
    shard.rename(shard.with_name("ucf101-test.tfrecord-00001-of-00002"))
    with pytest.raises(UserError, match="lacks shard 0 of 2 of its split test"):
        _list(place, split=2)
    (place / "label.labels.txt").unlink()
    with pytest.raises(UserError, match="prepared by TFDS, but not one of labelled videos"):
        _list(place, split=2)
    (root / "features.json").touch()
    with pytest.raises(UserError, match="holds several prepared datasets"):
        _list(root, split=2)
