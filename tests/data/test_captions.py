"""A caption stays with its video: from the file that holds it into every batch."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from glober_jax.data.clips import ClipSpec
from glober_jax.data.damage import DamageLog
from glober_jax.data.datasets.video_folder import VideoFolderOptions, list_inputs
from glober_jax.data.held_out import eval_clips
from glober_jax.data.latent_videos import LatentVideos, make_latents, open_latents
from glober_jax.data.loader import training_batches
from glober_jax.data.source import StoredVideos, open_videos
from glober_jax.errors import UserError
from tests.texts import CAPTIONS, RandomEncoder, write_captioned, write_clips

SPEC = ClipSpec(num_frames=8, num_key_frames=2, num_target_frames=0)
ENCODE = RandomEncoder()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_captioned(tmp_path_factory.mktemp("captioned"))


def _cached(source: StoredVideos, path: Path) -> LatentVideos:
    encode = lambda frames: (frames[:, :1, :1, :2] / 255).astype(np.float16)  # noqa: E731
    damage = DamageLog(len(source))
    make_latents(path, source, encode, (1, 1, 2), "codec", flip=False, damage=damage, command="")
    return open_latents(path, source, "codec", flip=False)


def test_every_row_of_a_batch_has_its_own_text(folder: Path, tmp_path: Path) -> None:
    """Fails when texts and clips are paired wrongly, lose precision, or are lost on the way.

    Each class has one caption, so a row's label says which text it must have: read from the data
    set, from a fresh latent cache and from one that was on disk. Broken: texts of the cache in
    reverse; the text of the batch's first video for all.
    """
    source = open_videos(folder, "train")
    assert len(source) == 3
    fresh = _cached(source, tmp_path / "latents")
    reread = _cached(source, tmp_path / "latents")
    expected = ENCODE([CAPTIONS[name] for name in source.class_names])
    for videos in (source, fresh, reread):
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
def options(tmp_path: Path) -> VideoFolderOptions:
    """Three videos, of which two have a text beside them, one of these no words."""
    write_clips(tmp_path / "in", list(CAPTIONS), num_frames=1)
    (tmp_path / "in" / "calm" / "clip.txt").write_text("  still\n water ")
    (tmp_path / "in" / "rain" / "clip.txt").write_text("\n")
    return VideoFolderOptions(input=str(tmp_path / "in"), clip="any")


def _found(options: VideoFolderOptions) -> tuple[dict[str, str], dict[str, str]]:
    """Captions of what is accepted, and reasons for what is not, by video."""
    listing = list_inputs(options)
    captions = {item.video_id: item.caption for item in listing.items}
    return captions, {rejection.video_id: rejection.reason for rejection in listing.rejections}


def test_text_beside_a_video(options: VideoFolderOptions) -> None:
    """Fails when a video without words gets in, or a text file counts for another video."""
    captions, rejected = _found(options)
    assert captions == {"calm/clip": "still water"}
    assert rejected.keys() == {"rain/clip", "snow/clip"}
    assert "no caption" in rejected["snow/clip"]
    captions, rejected = _found(dataclasses.replace(options, clip=None))
    assert captions == dict.fromkeys(("calm/clip", "rain/clip", "snow/clip"), "")
    assert not rejected


@pytest.mark.parametrize("name", ["captions.csv", "captions.tsv", "captions.jsonl", "any.json"])
def test_table_of_captions(options: VideoFolderOptions, tmp_path: Path, name: str) -> None:
    """Fails when quotes, a byte-order mark or ./ are taken literally, or text files still count."""
    rows = {"./rain/clip": 'so-called "rain", wet', "snow/clip": "snö\nsnö", "gone": "nothing"}
    if name.endswith("sv"):
        comma = "\t" if name.endswith("tsv") else ","
        quoted = [[p, "1", f'"{text.replace(chr(34), chr(34) * 2)}"'] for p, text in rows.items()]
        text = "\n".join(map(comma.join, [["Path", " views", "Text "], *quoted]))
    elif name.endswith("l"):
        text = "\n".join(json.dumps({"path": p, "caption": c}) for p, c in rows.items())
    else:
        text = json.dumps([{"path": p, "text": c} for p, c in rows.items()], indent=1)
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    captions, rejected = _found(dataclasses.replace(options, captions=str(tmp_path / name)))
    assert captions == {"rain/clip": 'so-called "rain", wet', "snow/clip": "snö snö"}
    assert rejected.keys() == {"calm/clip"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "none.csv cannot be read: No such file"),
        ("a.csv", "\x80", "a.csv cannot be read: it is not UTF-8 text"),
        ("a.csv", "file,text\na,b", "a.csv, line 2, holds no path and caption: expected the col"),
        ("a.csv", "path,caption\nonly", "line 2, holds no path and caption"),
        (
            "a.csv",
            "path,caption\n\ncalm/clip,a red, unquoted one",
            "line 3, .* fields: 3, in the h",
        ),
        (
            "a.csv",
            'path,caption\nx,y\ncalm/clip,"a red\nrain/clip,wet\n',
            "line 3, .* quote is not c",
        ),
        (
            "a.csv",
            'path,caption\ncalm/clip,"a "red" one"\n',
            "line 2, .* quote is not closed, or not",
        ),
        ("a.json", '[{"path": "calm/clip"}]', "line 1, holds no path and caption"),
        ("a.json", '["calm/clip"]', "line 1, holds no path and caption"),
        ("a.json", '[\n{"path": 1},', "line 2, .* not a JSON list"),
        ("a.jsonl", '\n{"path": "a"}', "line 2, holds no path and caption"),
        ("a.jsonl", '{"path"', "line 1, holds no path and caption"),
        ("a.csv", "path,caption\ncalm/clip,1\n./calm/clip,2", "line 3, names calm/clip a second"),
        ("a.csv", "path,caption\nclip,1", "names none of the videos, .* like calm/clip"),
    ],
)
def test_mistakes_in_a_table_are_named(
    options: VideoFolderOptions, tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    """Fails when a wrong table is taken for one without captions, or ends in a stack trace."""
    if content is not None:
        (tmp_path / name).write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match=message):
        list_inputs(dataclasses.replace(options, captions=str(tmp_path / name)))
