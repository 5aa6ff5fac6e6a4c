"""Warping error: a motion that is known, and what separates it from damage."""

import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from glober_jax.errors import UserError
from glober_jax.evaluation.metrics import motion, optical_flow
from tests.evaluation import corruptions


def moving_texture(size: int, step: tuple[int, int]) -> np.ndarray:
    """A soft texture that moves by `step` pixels (down, right) a frame: 6 frames."""
    cells = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    side = size * 3 // 2
    texture = cv2.resize(cells, (side, side), interpolation=cv2.INTER_CUBIC)
    corners = [(i * step[0], i * step[1]) for i in range(5, -1, -1)]
    return np.stack([texture[y : y + size, x : x + size] for y, x in corners])


@pytest.mark.parametrize(("size", "step"), [(32, (1, 0)), (64, (1, 2)), (160, (4, 3))])
def test_motion_is_found_and_undone(size: int, step: tuple[int, int]) -> None:
    """Fails when the flow is not in the clip's own pixels, is warped the wrong way or unseen."""
    clip = moving_texture(size, step)
    measured = optical_flow.measure_clip(clip)
    assert measured["flow_magnitude"] == pytest.approx(np.hypot(*step), rel=0.1)
    changes = np.square(np.diff(clip / 255.0, axis=0)).mean()
    assert measured["warping_error"] < 0.02 * changes, (measured, changes)
    assert measured["occluded"] < 0.2, measured


def test_damage_is_told_from_motion() -> None:
    """Fails when error and magnitude together let a corruption pass as real."""
    real, other = (corruptions.sky_clips(range(i, i + 6), num_frames=8) for i in (0, 8))
    expected, again = (corruptions.measure(optical_flow.measure_clip, x) for x in (real, other))
    damaged = {
        "noise": (corruptions.noise(other, 10), "warping_error"),
        "flicker": (corruptions.flicker(other, 0.04), "warping_error"),
        "replaced": (corruptions.replaced(other), "warping_error"),
        "shuffled": (corruptions.shuffled(other), "flow_magnitude"),
        "frozen": (corruptions.frozen(other), "flow_magnitude"),
    }
    for name, (clips, measure) in damaged.items():
        measured = corruptions.measure(optical_flow.measure_clip, clips)
        floor = motion.compare(expected[measure], again[measure])["distance"]
        distance = motion.compare(expected[measure], measured[measure])["distance"]
        assert distance > 2 * floor, (
            f"{measure}: {name} clips are {distance:.5f} from real ones, "
            f"other real ones {floor:.5f}"
        )
    # Why the error is never shown alone.
    assert measured["warping_error"].max() == 0 and again["warping_error"].min() > 0


def test_pixels_are_those_of_the_clip_as_it_was_given() -> None:
    """Fails when enlarging small frames shows: in the flow, or in how far flows may disagree."""
    small = corruptions.noise(corruptions.sky_clips([1], size=64, num_frames=4), 10)[0]
    large = np.stack([cv2.resize(x, (128, 128), interpolation=cv2.INTER_LINEAR) for x in small])
    by_small, by_large = optical_flow.measure_clip(small), optical_flow.measure_clip(large)
    assert by_large["flow_magnitude"] == pytest.approx(2 * by_small["flow_magnitude"])
    assert by_large["occluded"] > 1.2 * by_small["occluded"] > 0, (by_small, by_large)


def test_clips_without_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when frames that share nothing give no number, or what is missing is a stack trace."""
    chaos = np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), np.uint8)
    measured = optical_flow.measure_clip(chaos)
    assert np.isfinite(list(measured.values())).all() and measured["occluded"] > 0.5, measured
    with monkeypatch.context() as patch:
        far = SimpleNamespace(calc=lambda a, b, _: np.full((*a.shape, 2), 1e3, np.float32))
        patch.setattr(cv2, "DISOpticalFlow_create", lambda _: far)
        nowhere = optical_flow.measure_clip(chaos)
    assert nowhere["occluded"] == 1 and nowhere["warping_error"] > measured["warping_error"]
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match=r"opencv-python-headless.*requirements-eval\.txt"):
        optical_flow.measure_clip(chaos)
