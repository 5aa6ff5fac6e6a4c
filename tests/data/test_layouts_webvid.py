"""Every video gets its own caption, from whichever table or text file holds it."""

import json
from pathlib import Path

import pytest

from glober_jax.data.datasets.webvid import WebvidOptions, list_inputs
from glober_jax.data.media.tree import Listing
from glober_jax.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three videos, of which 12 is there twice; two have a text file."""
    for name in ("p1/12.mp4", "p1/13.MP4", "p2/12.mp4", "p2/höhe.mp4"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    (tmp_path / "in" / "p1" / "12.txt").write_text("\ufeff text  beside\n", encoding="utf-8")
    (tmp_path / "in" / "p2" / "höhe.txt").write_text("")
    return tmp_path / "in"


def _list(root: Path, table: str | None = None, name: str = "c.csv") -> Listing:
    if table is not None:
        (root.parent / name).write_text(table, encoding="utf-8-sig", newline="")
    captions = None if table is None else str(root.parent / name)
    return list_inputs(WebvidOptions(input=str(root), captions=captions))


def _captions(listing: Listing) -> dict[str, str]:
    return {item.video_id: item.caption for item in listing.items}


def _rejected(listing: Listing) -> dict[str, str]:
    return {rejection.video_id: rejection.reason for rejection in listing.rejections}


_QUOTED = '"A ""drone"", over\r\nthe bay, 夜"'
_PLAIN = 'A "drone", over the bay, 夜'


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("c.csv", f"videoid,contentUrl,duration,page_dir,name\r\n99,u,1,p,gone\r\n13,u,PT1S,p1,"
                  f"{_QUOTED}\r\n12,u,PT1S,p1,Twice\r\n12,u,PT1S,p2,Again\r\n"),
        ("c.csv", f"name,videoid\ngone,99\n\n{_QUOTED}, 13\nTwice,12\nAgain,12"),
        ("c.jsonl", "\n".join(json.dumps({"videoid": v, "caption": c}) for v, c in
                    ((99, "gone"), (13, _PLAIN), ("12", "Twice"), ("12", "Again")))),
    ],
    ids=["official", "other columns", "JSON lines"],
)  # fmt: skip
def test_tables_by_videoid(root: Path, name: str, table: str) -> None:
    """Fails when a caption goes to another video, quotes are taken literally, or one video gets in
    twice; rows without a video must be counted, not listed.

    Broken: the last of equal names kept; every repeated row refused.
    """
    listing = _list(root, table, name)
    assert _captions(listing) == {"p1/12.mp4": "Twice", "p1/13.MP4": _PLAIN}
    assert _rejected(listing) == {
        "p2/12.mp4": "has the name of p1/12.mp4, which has its caption",
        "p2/höhe.mp4": "has no caption in --captions",
    }
    assert listing.notices == (
        "1 rows of --captions name no video in --input",
        "1 rows of --captions name a video again; the first row counts",
    )


def test_table_by_path_keeps_equal_names_apart(root: Path) -> None:
    """Fails when a table of paths is read by name (broken: columns tried in another order)."""
    table = "videoid,path,caption\n1,p1/12.mp4,one\n1,./p2/12.mp4,two\n2,p2/höhe.mp4,  \n"
    listing = _list(root, table)
    assert _captions(listing) == {"p1/12.mp4": "one", "p2/12.mp4": "two"}
    assert _rejected(listing).keys() == {"p1/13.MP4", "p2/höhe.mp4"}
    assert listing.notices == ()


def test_text_beside_each_video(root: Path) -> None:
    """Fails when a video without words gets in, or folders no longer make the splits."""
    root.rename(root.parent / "val")
    (root.parent / "train").mkdir()
    (root.parent / "train" / "1.mp4").touch()
    (root.parent / "train" / "1.txt").write_text("train")
    listing = _list(root.parent)
    assert {(i.video_id, i.split, i.caption, i.class_name) for i in listing.items} == {
        ("train/1.mp4", "train", "train", None),
        ("val/p1/12.mp4", "test", "text beside", None),
    }
    assert len(listing.rejections) == 3


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("videoid,url\n12,u", "line 2, holds no path and caption: .* or videoid,name"),
        ("videoid,name\n12", "line 2, holds no path and caption"),
        ("videoid,name\n000012,x", "names none of the videos, which are called like p1/12.mp4"),
        ("path,caption\np1/12.mp4,x\np1/12.mp4,y", "line 3, names p1/12.mp4 a second time"),
        ('videoid,name\n12,"' + "x" * 200_000, "line 2, .*: a quote is not closed, .*field limit"),
    ],
)
def test_mistakes_in_tables_are_named(root: Path, table: str, message: str) -> None:
    """Fails when a wrong table leaves an empty data set, or ends in a stack trace."""
    with pytest.raises(UserError, match=message):
        _list(root, table)
