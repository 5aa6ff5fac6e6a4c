"""The record of an evaluation: written, read, refused; and compared where that is allowed."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glober_jax.errors import UserError
from glober_jax.evaluation import results
from glober_jax.evaluation.protocols import get_protocol
from glober_jax.evaluation.tables import compare, reconstructions


def score(value: float, spread: float = 5.0, clips: int = 256) -> dict[str, Any]:
    bounds = {"value": value, "low": value - spread, "high": value + spread, "confidence": 0.95}
    return bounds | {"repeats": [value], "num_real": clips, "num_generated": clips}


def result(fvd: float = 93.0, **changes: Any) -> results.Result:
    sections: dict[str, Any] = {
        "protocol": get_protocol("styleganv_16f@256"),
        "scores": {"fvd": score(fvd), "kvd": score(1.0, spread=0.5)},
        "floor": {"fvd": score(36.0)},
        "motion": {"roughness": {"real": 1.25, "generated": np.float32(1.5), "distance": 0.25}},
        "model": {"workdir": "runs/sky", "checkpoint_steps": {"generator": np.int64(1000)}},
        "data": {"real": {"source": "sky", "fingerprint": "abc"}, "generated": {}},
        "notes": [],
        "command": "evaluate --clips=256",
        "seconds": 12.3,
    }
    return results.build(**{**sections, **changes})


def test_round_trip(tmp_path: Path) -> None:
    """Fails when a value changes on disk, NumPy's included, or a knob is not written."""
    by_index = np.linspace(20, 25, 4, dtype=np.float32)
    codec = {"psnr_db": {"value": 24.1, "by_index": by_index}}
    written = result(reconstruction={"num_clips": 9, "kinds": {"codec": codec}})
    results.write(tmp_path / "new" / "result.json", written)
    assert results.read(tmp_path / "new" / "result.json") == written
    assert written["protocol"]["num_clips"] == 256
    assert written["protocol"]["value_range"] == [-1.0, 1.0]
    assert written["model"]["checkpoint_steps"] == {"generator": 1000}
    found = written["reconstruction"]["kinds"]["codec"]
    assert found["psnr_db"]["by_index"] == by_index.tolist()
    assert "coverage" not in written and written["notes"] == []
    with pytest.raises(UserError, match=r"^motion.frozen.real\[1\] is nan, so there is nothing"):
        result(motion={"frozen": {"real": np.array([0.1, np.nan])}})


def test_clips_of_another_length_are_marked_and_never_compared() -> None:
    """Fails when a score of short clips may be taken for the published protocol's."""
    short = result(protocol=get_protocol("styleganv_16f-12f@256"), notes=["a note"])
    assert short["protocol"]["name"] == "styleganv_16f-12f@256"
    assert "compare neither with published ones nor" in short["notes"][0]
    assert short["notes"][1:] == ["a note"]
    with pytest.raises(UserError, match="num_frames is 12 and 16"):
        compare({"short": short, "published": result()})


def test_reads_reconstructions_as_they_were_written_before(tmp_path: Path) -> None:
    """Fails when a result from before the model's parts were told apart shows none, or stops."""
    old = {"psnr_db": {"value": 24.1, "by_index": [24.1]}, "rfvd": score(61.0), "num_clips": 256}
    results.write(tmp_path / "old.json", result(reconstruction=old))
    read = results.read(tmp_path / "old.json")
    assert read["reconstruction"] == {"kinds": {"reconstruction": old}}
    table = compare({"old": read, "new": result()})
    assert "reconstruction: psnr_db  -            24.1" in table
    assert "reconstruction: rfvd     -            61" in table
    assert any("24.10" in line for line in reconstructions(read["reconstruction"]))


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (("scores", "fvd", "low"), None, "'low' is missing; take a file that evaluate wrote"),
        (("scores", "fvd", "value"), "93", "scores.fvd.value is not a number"),
        (("scores", "kvd", "value"), True, "scores.kvd.value is not a number"),
        (("data", "real"), [], "what should be an object is not"),
        (("versions",), None, "'versions' is missing"),
    ],
)
def test_damaged_records_are_refused(
    tmp_path: Path, place: tuple[str, ...], value: Any, sentence: str
) -> None:
    """Fails when what compare or a reader needs is not checked, or not named."""
    damaged = copy.deepcopy(result())
    *folders, last = place
    entry = damaged
    for folder in folders:
        entry = entry[folder]
    if value is None:
        del entry[last]
    else:
        entry[last] = value
    path = tmp_path / "result.json"
    path.write_text(json.dumps(damaged))
    with pytest.raises(UserError, match=f"result.json is no evaluation result: {sentence}"):
        results.read(path)


def test_files_that_are_no_records_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read the result .*a.json: No such file"):
        results.read(tmp_path / "a.json")
    for content, sentence in (
        (b"\xff\x00", "b.json is damaged, or no result: it is not JSON"),
        (b"[1]", "b.json is no evaluation result: what should be an object is not"),
    ):
        (tmp_path / "b.json").write_bytes(content)
        with pytest.raises(UserError, match=sentence):
            results.read(tmp_path / "b.json")


def test_each_model_and_data_set_has_a_file() -> None:
    """Fails when an evaluation on other data replaces the result of the first."""
    other_data = {"real": {"source": "sea", "fingerprint": "def"}}
    model = {"workdir": "runs/sky", "checkpoint_steps": {"generator": 2000}}
    found = [result(60.0), result(), result(data=other_data), result(model=model)]
    names = list(map(results.file_name, found))
    assert names[0] == names[1] and len(set(names)) == 3
    assert names[3].startswith("styleganv_16f@256-2000-")


def test_comparison_is_a_table_with_a_verdict() -> None:
    """Fails when a score, the floor or the motion is left out, or chance is called a difference."""
    moved = {"real": 0.5, "generated": 0.45, "distance": 0.05, "share": 0.9}
    codec = {"psnr_db": {"value": 24.125}, "scores": {"fvd": score(50.0)}}
    kinds = {"codec": codec, "interpolated": {"motion": {"difference": moved}}}
    again = result(93.0, reconstruction={"num_clips": 256, "kinds": kinds})
    text = compare({"long": result(60.0), "short": again, "mid": result(69.0)})
    lines = [line.split("  ") for line in text.splitlines()]
    cells = {line[0]: [cell.strip() for cell in line[1:] if cell.strip()] for line in lines}
    assert text.startswith("protocol styleganv_16f@256, real data abc\n")
    assert cells["score"] == ["real clips", "long", "short", "mid"]
    assert cells["fvd"] == ["36 [31, 41]", "60 [55, 65]", "93 [88, 98]", "69 [64, 74]"]
    assert cells["kvd"] == ["-", *["1 [0.5, 1.5]"] * 3]
    assert cells["motion: roughness"] == ["-", "0.25", "0.25", "0.25"]
    assert cells["reconstructed clips"] == ["-", "-", "256", "-"]
    assert cells["codec: psnr_db"] == ["-", "-", "24.12", "-"]
    assert cells["codec: fvd"] == ["-", "-", "50 [45, 55]", "-"]
    assert cells["interpolated: difference"] == ["-", "-", "0.05 (90 %)", "-"]
    assert "fvd: long is lowest, but its interval meets that of mid" in text
    clear = compare({"a": result(93.0), "b": result(60.0, scores={"fvd": score(60.0)})})
    assert "fvd: b is lowest, its interval apart from all others" in clear
    assert "kvd: not measured for b" in clear


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"protocol": get_protocol("digan@256")},
            r'split is "train\+test" and "test", .*videos is.*resize is.*ddof is 0 and 1',
        ),
        (
            {"data": {"real": {"fingerprint": "def"}}},
            'real data\'s fingerprint is "abc" and "def"; evaluate both alike',
        ),
        (
            {"scores": {"fvd": score(93.0, clips=200), "kvd": score(1.0, clips=200)}},
            "number of generated clips is 256 and 200, the number of real clips is 256 and 200",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(changes: dict[str, Any], sentence: str) -> None:
    """Fails when two numbers stand side by side that measure different things."""
    with pytest.raises(UserError, match=f"^a and c cannot be compared: .*{sentence}"):
        compare({"a": result(), "b": result(), "c": result(**changes)})
    with pytest.raises(UserError, match="needs at least two results, not 1"):
        compare({"a": result()})


def test_a_setting_of_one_version_alone_is_refused_in_any_order() -> None:
    """Fails when a result that lacks a setting compares as the second, though not as the first."""
    old = result()
    del old["protocol"]["resize"]
    for pair, sentence in (((old, result()), 'null and "stretch"'), ((result(), old), "and null")):
        with pytest.raises(UserError, match=f"resize is .*{sentence}"):
            compare(dict(zip("ab", pair, strict=True)))
