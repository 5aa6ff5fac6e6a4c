"""Every video gets its own caption, from whichever table or text file holds it."""

import json
from pathlib import Path

import pytest

from glober_jax.data.datasets.media_folders import (
    VideoFolderOptions,
    WebvidOptions,
    list_video_folder,
    list_webvid,
)
from glober_jax.data.media.tree import Listing
from glober_jax.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three videos, of which 12 is there twice; two have a text file."""
    for name in ("p1/12.mp4", "p1/13.MP4", "p2/12.mp4", "p2/höhe.mp4"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    (tmp_path / "in" / "p1" / "12.txt").write_text("\ufeff text \n beside\n", encoding="utf-8")
    (tmp_path / "in" / "p2" / "höhe.txt").write_text("\n")
    return tmp_path / "in"


def _list(root: Path, table: str | None = None, name: str = "c.csv") -> Listing:
    if table is not None:
        (root.parent / name).write_text(table, encoding="utf-8-sig", newline="")
    captions = None if table is None else str(root.parent / name)
    return list_webvid(WebvidOptions(input=str(root), captions=captions))


def _captions(listing: Listing) -> dict[str, str]:
    return {item.video_id: item.caption for item in listing.items}


_QUOTED = '"A ""drone"", over\r\nthe bay, 夜"'
_PLAIN = 'A "drone", over the bay, 夜'


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("c.csv", f"videoid,contentUrl,duration,page_dir,name\r\n99,u,1,p,gone\r\n13,u,PT1S,p1,"
                  f"{_QUOTED}\r\n12,u,PT1S,p1,Twice\r\n12,u,PT1S,p2,Again\r\n"),
        ("c.csv", f"Name ,videoid\ngone,99\n\n{_QUOTED}, 13\nTwice,12\nAgain,12"),
        ("c.jsonl", "\n".join(json.dumps({"videoid": v, "caption": c}) for v, c in
                    ((99, "gone"), (13, _PLAIN), ("12", "Twice"), ("12", "Again")))),
    ],
    ids=["official", "other columns", "JSON lines"],
)  # fmt: skip
def test_tables_by_videoid(root: Path, name: str, table: str) -> None:
    """Fails when a caption goes to another video, quotes are taken literally, or one video gets in
    twice; rows without a video must be counted, not listed."""
    listing = _list(root, table, name)
    assert _captions(listing) == {"p1/12.mp4": "Twice", "p1/13.MP4": _PLAIN}
    assert dict(listing.rejections) == {
        "p2/12.mp4": "has the name of p1/12.mp4, which has its caption",
        "p2/höhe.mp4": "has no caption in --captions",
    }
    assert listing.notices == (
        "1 rows of --captions name no video in --input",
        "1 rows of --captions name a video again; the first row counts",
    )


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("c.csv", "videoid,path,caption\n1,p1/12.mp4,one\n1,./p2/12.mp4,two\n2,p2/höhe.mp4,  \n"),
        ("c.TSV", "path\tText\np1/12.mp4\tone\n./p2/12.mp4\ttwo\n"),
        ("any", json.dumps([{"path": f"./p{i}/12.mp4", "text": t} for i, t in
                            ((1, "one"), (2, "two"))], indent=1)),
    ],
    ids=["CSV", "tabs", "JSON list"],
)  # fmt: skip
def test_tables_by_path_keep_equal_names_apart(root: Path, name: str, table: str) -> None:
    """Fails when a table of paths is read by name."""
    listing = _list(root, table, name)
    assert _captions(listing) == {"p1/12.mp4": "one", "p2/12.mp4": "two"}
    assert dict(listing.rejections).keys() == {"p1/13.MP4", "p2/höhe.mp4"}
    assert listing.notices == ()


def test_text_beside_each_video(root: Path) -> None:
    """Fails when a video without words gets in, texts beside folders of frames are not found, or
    are asked for without --clip.
    """
    root.rename(root.parent / "val")
    (root.parent / "train" / "1").mkdir(parents=True)
    (root.parent / "train" / "1" / "0.png").touch()
    (root.parent / "train" / "1.txt").write_text("train")
    wanted = {"train/1": "train", "val/p1/12.mp4": "text beside"}
    folder = VideoFolderOptions(input=str(root.parent), clip="any")
    for listing in (_list(root.parent), list_video_folder(folder)):
        assert _captions(listing) == wanted
        assert {item.split for item in listing.items} == {"train", "test"}
        assert {reason[:14] for _, reason in listing.rejections} == {"has no caption"}
    folder = VideoFolderOptions(input=str(root.parent))
    assert set(_captions(list_video_folder(folder)).values()) == {""}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "none.csv cannot be read: No such file"),
        ("a.csv", "\x80", "a.csv cannot be read: it is not UTF-8 text"),
        ("a.csv", "videoid,url\n12,u", "line 2, holds no path and caption: .* or videoid,name"),
        ("a.csv", "path,caption\n\nx,a red, one", "line 3, .* has not the 2 fields of the header"),
        ("a.csv", 'path,caption\nx,y\nz,"a red\nw,wet\n', "line 3, .* a quote is not closed"),
        ("a.csv", 'videoid,name\n12,"' + "x" * 200_000, "line 2, .* not closed, .*field limit"),
        ("a.json", '[{"path": "x"}]', "line 1, holds no path and caption"),
        ("a.json", '[\n{"path": 1},', "line 2, .* not a JSON list"),
        ("a.jsonl", '\n{"path": "a"}', "line 2, holds no path and caption"),
        ("a.jsonl", '{"path"', "line 1, .* not JSON on one line"),
        ("a.csv", "path,caption\np1/12.mp4,x\n./p1/12.mp4,y", "line 3, names p1/12.mp4 a second"),
        ("a.csv", "videoid,name\n000012,x", "names none of the videos, which are called like p1/"),
    ],
)
def test_mistakes_in_tables_are_named(
    root: Path, name: str, content: str | None, message: str
) -> None:
    """Fails when a wrong table leaves an empty dataset, or ends in a stack trace."""
    table = root.parent / name
    if content is not None:
        table.write_text(content, encoding="latin-1")
    options = WebvidOptions(input=str(root), captions=str(table))
    with pytest.raises(UserError, match=message):
        list_webvid(options)
