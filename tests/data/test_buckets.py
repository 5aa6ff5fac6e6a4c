"""Input and output in a bucket: what a folder of this machine gives, and clear refusals."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import fsspec
import pytest
from etils import epath
from fsspec.implementations.memory import MemoryFileSystem

from glober_jax.data.building import make_shards
from glober_jax.data.damage import DamageLog
from glober_jax.data.datasets.make import Options, make_dataset
from glober_jax.data.datasets.media_folders import VideoFolderOptions, WebvidOptions
from glober_jax.data.datasets.ucf101 import Ucf101Options
from glober_jax.data.latent_videos import make_latents
from glober_jax.data.source import open_videos
from glober_jax.errors import UserError
from tests.data.videos import write_frames, write_ruins, write_video, written


class _Refused(Exception):
    """As clients of buckets have errors of their own."""


class _Buckets(MemoryFileSystem):
    """Buckets in memory, which know no folders; one of them lets nobody in."""

    protocol = ("az",)
    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        if "forbidden" in str(path):
            raise _Refused("no access")
        return super()._strip_protocol(str(path).replace("az://", "memory://"))


@pytest.fixture
def bucket() -> Iterator[epath.Path]:
    # Stays registered: there is no other use for this address.
    fsspec.register_implementation("az", _Buckets, clobber=True)
    yield epath.Path("az://bucket")
    _Buckets.store.clear()
    _Buckets.pseudo_dirs[1:] = []


def _upload(folder: Path, target: epath.Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            (target / path.relative_to(folder).as_posix()).write_bytes(path.read_bytes())


def _download(source: epath.Path, target: Path) -> None:
    system, root = fsspec.url_to_fs(str(source))
    for name in system.find(root):
        path = target / name.removeprefix(root).lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(system.cat_file(name))


def _videos(folder: Path) -> type[Options]:
    """Files and frames, with classes, of which some cannot be used."""
    for number in range(6):
        write_video(folder / "calm" / f"{number}.mp4", 20)
    write_frames(folder / "storm" / "frames", 20)
    write_ruins(folder)
    return VideoFolderOptions


def _captioned(folder: Path) -> type[Options]:
    for number in range(4):
        write_video(folder / "00000" / f"{number}.mp4", 40)
        (folder / "00000" / f"{number}.txt").write_text(f"a film, number {number}")
    return WebvidOptions


def _ucf101(folder: Path) -> type[Options]:
    names = [f"v_Archery_g{group:02d}_c01" for group in (1, 8)]
    for name in names:
        write_video(folder / f"{name}.avi", 20)
    (folder / "classInd.txt").write_text("1 Archery\n")
    (folder / "trainlist01.txt").write_text(f"Archery/{names[1]}.avi 1\n")
    (folder / "testlist01.txt").write_text(f"Archery/{names[0]}.avi\n")
    return Ucf101Options


@pytest.mark.parametrize("videos", [_videos, _captioned, _ucf101])
def test_from_bucket_to_bucket(
    videos, bucket: epath.Path, tmp_path: Path, small_shards: None
) -> None:
    """Fails when a record, a reject or a byte depends on where inputs or outputs are."""
    options = videos(tmp_path / "in")
    (tmp_path / "in" / "gone.mp4").unlink(missing_ok=True)  # A link to nowhere.
    _upload(tmp_path / "in", bucket / "in")
    here = make_dataset(options(input=str(tmp_path / "in"), size=16), tmp_path / "here")
    there = make_dataset(options(input=str(bucket / "in"), size=16), bucket / "out")
    assert here["splits"]["train"]["videos"]
    notices = [notice.replace(str(tmp_path), str(bucket)) for notice in here["notices"]]
    assert here | {"notices": notices} == there
    assert make_dataset(options(input=str(bucket / "in"), size=16), bucket / "out") is None
    _download(bucket / "out", tmp_path / "there")
    assert written(tmp_path / "here") == written(tmp_path / "there")
    assert {path.name for path in (bucket / "out").iterdir()} == {
        path.name for path in (tmp_path / "here").iterdir()
    }


def test_an_interrupted_run_goes_on_in_a_bucket(
    bucket: epath.Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_shards: None
) -> None:
    """Fails when videos that could not be fetched count as damaged, finished shards are made again,
    or an old data set is kept beside the new one."""
    for number in range(4):
        write_video(tmp_path / "in" / f"{number}.mp4", 40)
    _upload(tmp_path / "in", bucket / "in")
    options = VideoFolderOptions(input=str(bucket / "in"), size=16)
    arguments = {"output": bucket / "out", "overwrite": True}
    make_dataset(VideoFolderOptions(input=str(bucket / "in"), size=8), **arguments)
    with monkeypatch.context() as patch:
        opened: list[str] = []

        def break_down(buckets: _Buckets, path: str, *arguments: object, **options: object):
            opened.append(path)
            if path.endswith(".mp4") and sum(name.endswith(".mp4") for name in opened) == 3:
                raise ConnectionResetError("gone")
            return MemoryFileSystem.open(buckets, path, *arguments, **options)

        patch.setattr(_Buckets, "open", break_down)
        with pytest.raises(UserError, match=r"cannot read az://.*gone.*same command again"):
            make_dataset(options, **arguments)
    finished = {path.stem for path in (bucket / "out").glob(".prepare-*/shards/*.json")}
    again, make = [], make_shards.MakeShard.__call__
    monkeypatch.setattr(
        make_shards.MakeShard, "__call__",
        lambda task, part: (again.append(part.name), make(task, part)),
    )  # fmt: skip
    card = make_dataset(options, **arguments)
    assert (card["accepted"], card["rejected"]) == (4, [])
    assert again and finished and not set(again) & finished
    (info,) = (bucket / "out").glob("*/*/dataset_info.json")
    found = sum(shard["shards"] for shard in card["splits"].values())
    assert len(list(info.parent.glob("*array_record*"))) == found


def test_captions_and_latents_in_a_bucket(bucket: epath.Path, tmp_path: Path) -> None:
    for number in range(4):
        write_video(tmp_path / f"{number}.mp4", 40)
    _upload(tmp_path, bucket / "in")
    rows = "".join(f'{number}.mp4,"one, {number}"\n' for number in range(4))
    (bucket / "captions.csv").write_text(f"path,caption\n{rows}")
    options = WebvidOptions(
        input=str(bucket / "in"), captions=str(bucket / "captions.csv"), size=16
    )
    make_dataset(options, tmp_path / "here")
    source = open_videos(tmp_path / "here", "train")
    assert source[0].caption == "one, 0"
    for output in (tmp_path / "latents", bucket / "latents"):
        make_latents(
            epath.Path(output), source, lambda frames: frames[:, ::4, ::4, :2].astype("float16"),
            (4, 4, 2), "codec", flip=True, damage=DamageLog(4), command="",
        )  # fmt: skip
    _download(bucket / "latents", tmp_path / "there")
    assert written(tmp_path / "latents") == written(tmp_path / "there")


def test_unreachable_buckets_are_one_sentence(bucket: epath.Path, tmp_path: Path) -> None:
    """Fails when no access, or an address of an unknown kind, is a stack trace."""
    options = VideoFolderOptions(input="az://forbidden/in")
    with pytest.raises(UserError, match=r"az://forbidden/in.* no access\): check the name"):
        make_dataset(options, tmp_path / "out")
    with pytest.raises(UserError, match=r"az://bucket/in is not a folder"):
        make_dataset(VideoFolderOptions(input="az://bucket/in"), tmp_path / "out")
    with pytest.raises(UserError, match=r"ftp://host/out: use a local .* gs://, s3://"):
        make_dataset(options, "ftp://host/out")
