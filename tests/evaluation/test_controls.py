"""Controls: real clips broken in one way each, scored beside the generated ones."""

import dataclasses

import numpy as np
import pytest

from glober_jax.errors import UserError
from glober_jax.evaluation.evaluating import Evaluation, evaluate_videos
from glober_jax.evaluation.measuring import FeatureExtractor, Measures, combined, motion_measures
from glober_jax.evaluation.protocols import get_protocol
from glober_jax.evaluation.tables import controls
from glober_jax.evaluation.video_set import VideoSet
from glober_jax.models import lpips
from tests.evaluation.corruptions import sky_clips


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
    videos = sky_clips(range(first, first + count))
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
