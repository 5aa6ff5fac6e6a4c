"""A caption stays with its video: from whichever file holds it into every batch."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from glober_jax.data.clips import ClipSpec
from glober_jax.data.damage import DamageLog
from glober_jax.data.datasets.media_folders import (
    VideoFolderOptions,
    WebvidOptions,
    list_video_folder,
    list_webvid,
)
from glober_jax.data.latent_videos import LatentVideos, make_latents, open_latents
from glober_jax.data.loader import eval_clips, training_batches
from glober_jax.data.media.tree import Listing
from glober_jax.data.source import StoredVideos, open_videos
from glober_jax.errors import UserError
from tests.texts import CAPTIONS, RandomEncoder, write_captioned

SPEC = ClipSpec(num_frames=8, num_key_frames=2, num_target_frames=0)
ENCODE = RandomEncoder()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_captioned(tmp_path_factory.mktemp("captioned"))


def _cached(source: StoredVideos, path: Path) -> LatentVideos:
    def encode(frames: np.ndarray) -> np.ndarray:
        return (frames[:, :1, :1, :2] / 255).astype(np.float16)

    damage = DamageLog(len(source))
    make_latents(path, source, encode, (1, 1, 2), "codec", flip=False, damage=damage, command="")
    return open_latents(path, source, "codec", flip=False)


def test_every_row_of_a_batch_has_its_own_text(folder: Path, tmp_path: Path) -> None:
    """Fails when texts and clips are paired wrongly, lose precision, or are lost on the way.

    Each class has one caption, so a row's label says which text it must have."""
    source = open_videos(folder, "train")
    assert len(source) == 3
    expected = ENCODE([CAPTIONS[name] for name in source.class_names])
    for videos in (source, _cached(source, tmp_path / "latents")):
        batches = training_batches(videos, SPEC, batch_size=4, seed=0, text=True)
        for _ in range(5):
            batch = next(batches)
            assert batch["text"].dtype == np.float16
            np.testing.assert_array_equal(batch["text"], expected[batch["label"]])
        plain = next(training_batches(videos, SPEC, batch_size=4, seed=0))
        assert plain.keys() == {"key_frames", "label"}
    clips = eval_clips(open_videos(folder, "test"), SPEC, 3)
    np.testing.assert_array_equal(clips["text"], expected[clips["label"]])
    assert clips["caption"] == [CAPTIONS[source.class_names[label]] for label in clips["label"]]


def test_other_captions_are_another_dataset(folder: Path, tmp_path: Path) -> None:
    """Fails when a latent cache, kept by fingerprint, outlives captions that were swapped."""
    names = list(CAPTIONS)
    swapped = dict(zip(names, [CAPTIONS[name] for name in reversed(names)], strict=True))
    other = open_videos(write_captioned(tmp_path, swapped), "train")
    source = open_videos(folder, "train")
    assert other.text_info == dataclasses.replace(
        source.text_info, captions=other.text_info.captions
    )
    assert other.fingerprint != source.fingerprint
    _cached(source, tmp_path / "latents")
    with pytest.raises(UserError, match="made from another data set"):
        open_latents(tmp_path / "latents", other, "codec", flip=False)


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
    """Fails when a caption goes to another video, quotes are taken literally, one video gets in
    twice, or rows without a video are not counted."""
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
    """Fails when a video without words gets in, or texts are asked for without --clip."""
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
        ("a.csv", ",video,caption\n0,x,y", "line 2, holds no path and caption"),
        ("a.csv", ",path,words\n0,x,y", "line 2, holds no path and caption"),
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
