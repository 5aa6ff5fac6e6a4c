"""A cache of latents is the data set encoded, whatever happens while it is made."""

import itertools
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from glober_jax.alone import alone_in
from glober_jax.data.building import splits
from glober_jax.data.clips import ClipSpec
from glober_jax.data.damage import DamageLog
from glober_jax.data.datasets.make import make_dataset
from glober_jax.data.datasets.synthetic_sky import SyntheticSkyOptions
from glober_jax.data.latent_videos import make_latents, open_latents
from glober_jax.data.loader import training_batches
from glober_jax.data.source import StoredVideos, open_videos
from glober_jax.errors import UserError
from tests.data.shards import rewrite, without_jpeg_start
from tests.data.videos import written

SPEC = ClipSpec(num_frames=8, num_key_frames=4, num_target_frames=2)


@pytest.fixture
def sky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoredVideos:
    """A dozen videos in several shards, of which a few share a call of the encoder."""
    monkeypatch.setattr(splits, "LEAST_BYTES", 80_000)
    options = SyntheticSkyOptions(num_videos=12, num_test_videos=1, num_frames=24, size=16)
    make_dataset(options, tmp_path / "sky")
    source = open_videos(tmp_path / "sky", "train")
    assert len(source.records.shard_lengths) > 2
    return source


def _encode(frames_FHWC: np.ndarray) -> np.ndarray:
    """Stands for a codec: pixels at a quarter of the size, two channels of them."""
    return (frames_FHWC[:, ::4, ::4, :2] / 255).astype(np.float16)


def _make(
    output: Path,
    source: StoredVideos,
    codec: str = "codec",
    flip: bool = True,
    overwrite: bool = False,
    share: tuple[int, int] = (0, 1),
    max_damaged: float = 0.5,
) -> bool:
    damage = DamageLog(len(source), max_damaged)
    return make_latents(
        output, source, _encode, (4, 4, 2), codec,
        flip=flip, damage=damage, command="the command", overwrite=overwrite, share=share,
    )  # fmt: skip


def test_batches_are_those_of_the_pixels_encoded(sky: StoredVideos, tmp_path: Path) -> None:
    """Fails when clips, flips or videos of the two sources part."""
    _make(tmp_path / "latents", sky)
    latents = open_latents(tmp_path / "latents", sky, "codec", flip=True)

    def batches(source: object) -> Iterator[dict[str, np.ndarray]]:
        return training_batches(source, SPEC, batch_size=4, seed=3, flip=True)

    for ours, theirs in itertools.islice(zip(batches(latents), batches(sky), strict=True), 8):
        np.testing.assert_array_equal(ours["label"], theirs["label"])
        np.testing.assert_array_equal(ours["target_index"], theirs["target_index"])
        for name in ("key_frames", "target_frames"):
            pixels = theirs[name]
            pixels[theirs["mirrored"]] = pixels[theirs["mirrored"], ..., ::-1, :]
            flat = pixels.reshape(-1, 16, 16, 3)
            expected = _encode(flat).reshape(*theirs[name].shape[:2], 4, 4, 2)
            np.testing.assert_array_equal(ours[name], expected)


def test_interrupted_cache_goes_on(
    sky: StoredVideos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when finished shards are encoded again, or the interruption changes a byte."""
    _make(tmp_path / "whole", sky)
    described: list[object] = []

    def interrupt(facts: object) -> dict:
        if len(described) == 2:
            raise KeyboardInterrupt
        described.append(facts)
        return asdict(facts)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("glober_jax.data.building.output.asdict", interrupt)
        _make(tmp_path / "parts", sky)
    names = {path.stem for path in tmp_path.glob("parts/.prepare-*/shards/*.json")}
    finished = [path for name in names for path in tmp_path.glob(f"parts/.prepare-*/*/*/{name}")]
    assert len(finished) == 2
    times = {path.name: path.stat().st_mtime_ns for path in finished}
    assert _make(tmp_path / "parts", sky)
    assert not _make(tmp_path / "parts", sky)
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "parts").glob("*/*/*")}
    assert times.items() <= kept.items()
    assert written(tmp_path / "parts") == written(tmp_path / "whole")


def test_shares_of_several_hosts_make_the_whole(sky: StoredVideos, tmp_path: Path) -> None:
    """Fails when a share is published alone, keeps others out, is made again or changes a bit."""
    _make(tmp_path / "whole", sky)
    output = tmp_path / "shared"
    output.mkdir()
    with alone_in(output):
        # As while another host is at work.
        for share in ((1, 2), (0, 2)):
            assert _make(output, sky, share=share)
            with pytest.raises(UserError, match="no prepared dataset"):
                open_latents(output, sky, "codec", flip=True)
    times = {path.name: path.stat().st_mtime_ns for path in output.rglob("*array_record-*[0-9]")}
    assert _make(output, sky)
    assert not _make(output, sky, share=(1, 2))
    assert written(tmp_path / "whole") == written(output)
    assert times == {path.name: path.stat().st_mtime_ns for path in output.glob("*/*/*array_r*")}


def test_another_codec_or_no_mirrors_are_refused(sky: StoredVideos, tmp_path: Path) -> None:
    """Fails when latents of one codec are trained on with another, or flips are left out."""
    _make(tmp_path / "latents", sky, flip=False)
    with pytest.raises(UserError, match=r"made from another frame codec \(codec\).*\(newer\)"):
        open_latents(tmp_path / "latents", sky, "newer", flip=False)
    with pytest.raises(UserError, match=r"config\.data\.flip needs mirrored frames"):
        open_latents(tmp_path / "latents", sky, "codec", flip=True)
    with pytest.raises(UserError, match="--codec was codec, now newer"):
        _make(tmp_path / "latents", sky, "newer")
    with pytest.raises(UserError, match="has no moments"):
        open_latents(tmp_path / "sky", sky, "codec", flip=False)
    assert _make(tmp_path / "latents", sky, "newer", flip=False, overwrite=True)
    assert len(open_latents(tmp_path / "latents", sky, "newer", flip=False)) == 12


def test_damage_counts_over_all_shares(sky: StoredVideos, tmp_path: Path) -> None:
    """Fails when shares that each lose what is allowed become a cache that lost twice that, or
    videos stay lost that were mended since."""
    lengths = sky.records.shard_lengths
    paths = [next((tmp_path / "sky").rglob(f"*train*-0000{shard}-of-*")) for shard in (0, 1)]
    contents = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()
    holey = open_videos(tmp_path / "sky", "train", max_damaged=0.9)
    options = {"max_damaged": max(lengths[:2]) / 12}
    for share in ((0, 2), (1, 2)):
        assert _make(tmp_path / "latents", holey, share=share, **options)
    with pytest.raises(UserError, match=f"{sum(lengths[:2])} of 12 videos are damaged"):
        _make(tmp_path / "latents", holey, **options)
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    mended = open_videos(tmp_path / "sky", "train")
    assert _make(tmp_path / "latents", mended)
    assert len(open_latents(tmp_path / "latents", mended, "codec", flip=True)) == 12


def test_damaged_videos_are_left_out(sky: StoredVideos, tmp_path: Path) -> None:
    """Fails when a missing shard ends the run though it may be missing, a video is kept of which a
    part could not be read, or either leaves a hole in the cache."""
    names = [sky[index].video_id for index in range(12)]
    lost = {0, *sky.records.videos_of(1)}
    broken, missing = (next((tmp_path / "sky").rglob(f"*train*-0000{i}-of-*")) for i in (0, 1))
    # The last frame of the shard's first video.
    rewrite(broken, lambda old: [*old[:2], without_jpeg_start(old[2], 7), *old[3:]])
    missing.unlink()
    holey = open_videos(tmp_path / "sky", "train", max_damaged=0.5)
    _make(tmp_path / "latents", holey)
    latents = open_latents(tmp_path / "latents", holey, "codec", flip=True)
    found = [latents[index].video_id for index in range(len(latents))]
    assert found == [name for index, name in enumerate(names) if index not in lost]
    batch = next(training_batches(latents, SPEC, batch_size=8, seed=0))
    assert batch["key_frames"].shape == (8, 4, 4, 4, 2)
