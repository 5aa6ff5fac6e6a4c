"""What each part of a model loses: by place, as scores, and of motion; and the table of it."""

import re
from typing import Any

import numpy as np
import pytest

from glober_jax.evaluation.metrics import motion
from glober_jax.evaluation.scoring import part_scores
from glober_jax.evaluation.tables import reconstructions


def measures(level: float, *, made: bool, logits: bool = True) -> dict[str, np.ndarray]:
    """Of 8 clips of 4 frames: quality of made ones, 20 dB at keys and 10 elsewhere."""
    rng = np.random.default_rng(int(10 * level))
    found = {name: np.full(8, level) for name in (*motion.OF_PIXELS, *motion.OF_FLOW)}
    if made:
        found["psnr"] = np.tile([20.0, 10.0, 20.0, 10.0], (8, 1))
    if logits:
        found["logits"] = rng.normal(level, 1.0, (8, 5))
    return found


@pytest.fixture(scope="module")
def section() -> dict[str, Any]:
    made = {
        "codec": measures(0.5, made=True),
        "interpolated": measures(0.25, made=True, logits=False),
    }
    return part_scores(measures(0.5, made=False), made, np.array([0, 2]), ddof=0)


def test_places_scores_and_shares(section: dict[str, Any]) -> None:
    """Fails when key places and others are swapped, real and made, or a kind gets another's."""
    codec, interpolated = section["kinds"].values()
    assert section["num_clips"] == 8
    for kind in (codec, interpolated):
        psnr = kind["psnr_db"]
        assert (psnr["at_keys"], psnr["elsewhere"], psnr["value"]) == (20.0, 10.0, 15.0)
    assert codec["scores"].keys() == {"fvd", "kvd"} and "scores" not in interpolated
    assert codec["scores"]["fvd"]["value"] == pytest.approx(0.0, abs=1e-9)
    assert codec["scores"]["fvd"]["low"] <= 0 <= codec["scores"]["fvd"]["high"]
    for name in ("difference", "flow_magnitude", "roughness"):
        assert codec["motion"][name]["share"] == 1.0
        entry = interpolated["motion"][name]
        assert (entry["real"], entry["generated"], entry["share"]) == (0.5, 0.25, 0.5)


def test_all_places_may_be_keys_and_nothing_move() -> None:
    still = measures(0.0, made=True, logits=False)
    found = part_scores(still, {"codec": still}, np.arange(4), ddof=0)["kinds"]["codec"]
    assert found["psnr_db"]["elsewhere"] is None and found["motion"]["difference"]["share"] is None
    assert any("15.00" in line for line in reconstructions({"kinds": {"codec": found}}))


def test_the_table_has_a_column_for_each_kind(section: dict[str, Any]) -> None:
    """Fails when a number stands in another's column, or one that is missing shifts the others."""
    rows = [re.split("  +", line.strip()) for line in reconstructions(section)]
    assert rows[:3] == [
        ["reconstructions", "real", "codec", "interpolated"],
        ["PSNR of frames in dB", "15.00", "15.00"],
        ["at key / other frames", "20.00 / 10.00", "20.00 / 10.00"],
    ]
    fvd, kvd, *moving = rows[3:]
    assert fvd[0] == "FVD" and re.match(r"-?0.00 \[", fvd[1]) and fvd[2] == "-"
    assert kvd[0] == "KVD" and kvd[2] == "-"
    assert moving == [
        [f"{name} (share of real)", "0.5", "0.5 (100 %)", "0.25 (50 %)"]
        for name in ("frame difference", "optical flow", "roughness")
    ]
