"""The work behind the page: few programs, growing videos, and the right caption."""

import numpy as np
import pytest
from etils import epath

from glober_jax.demonstration.requests import Part, VideoRequest
from glober_jax.demonstration.session import Session
from glober_jax.errors import UserError
from glober_jax.experiment.config import parse
from glober_jax.training.restore import ExampleTexts
from tests.tiny import drawn_glober, single_level_config

SAMPLING = {"sampler": "ddim", "steps": 1}
TEXTS = np.random.default_rng(0).standard_normal((2, 2, 16)).astype(np.float16)


@pytest.fixture(scope="module")
def session() -> Session:
    """A model of texts with random parameters, and two captions."""
    source = single_level_config()
    source.model.condition.update({"kind": "text", "length": 2, "num_classes": 0})
    source.sampling.update({"eta": 0.0, "chunk_frames": 128})
    experiment = parse(source)
    model = drawn_glober(experiment)
    examples = ExampleTexts(("calm sea", "storm"), TEXTS, "digest")
    return Session(experiment, model, examples, epath.Path("runs/sea"), "newest")


def test_video_grows_to_what_the_library_makes(session: Session) -> None:
    """Fails when a stage is lost, or another caption, seed or index is used."""
    part = Part(16, 0.25, 0.75, num_frames=20)
    stages = list(session.generate(VideoRequest(3, "storm", part, SAMPLING)))
    assert [len(stage.frames) for stage in stages] == [0, 16, 20]
    assert [stage.total for stage in stages] == [20] * 3
    assert [stage.fraction for stage in stages] == [0, 0.8, 1]
    assert "Compiling" in stages[0].note and "Done" in stages[-1].note

    model = session.model.with_options(**SAMPLING, chunk_frames=16)
    features = model.generate_globals(1, TEXTS[1:], seed=3)
    expected = model.decode(features, part.index_n, seed=3)[0]
    np.testing.assert_array_equal(stages[-1].frames, expected)
    with pytest.raises(UserError, match="not one of the examples"):
        next(session.generate(VideoRequest(3, "desert", part, SAMPLING)))


def test_between_two_videos(session: Session) -> None:
    """Fails when an end is not the video asked for, or the middle not that of half the way."""
    part = Part(16, 0, 1, num_frames=3)
    ends = [
        VideoRequest(seed, text, part, SAMPLING) for seed, text in ((3, "storm"), (5, "calm sea"))
    ]
    stages = list(session.between(*ends, 3))
    assert [stage.fraction for stage in stages] == [0, 1 / 3, 2 / 3, 1]
    size = session.model.networks.frame_size
    width = size + 1
    assert [(stage.frames[:, :, 2 * width :] == 128).all() for stage in stages[1:]] == [1, 1, 0]

    model = session.model.with_options(**SAMPLING, chunk_frames=16)
    a, b = (model.generate_globals(1, TEXTS[n : n + 1], seed=s) for n, s in ((1, 3), (0, 5)))
    for number, feature in enumerate((a, (a + b) / 2, b)):
        expected = model.decode(feature, np.pad(part.index_n, (0, 13), mode="edge"), seed=3)[0, :3]
        shown = stages[-1].frames[:, :, number * width : number * width + size]
        assert np.abs(shown.astype(int) - expected).max() <= 1


def test_few_programs_serve_all_lengths_and_are_kept(session: Session) -> None:
    """Fails when a short video, another seed or another part is compiled anew, or every choice of
    sampling stays in memory."""

    def compiles(steps: int) -> bool:
        request = VideoRequest(0, "storm", Part(16, 0, 1, rate=1), SAMPLING | {"steps": steps})
        return "Compiling" in next(session.generate(request)).note

    size = session.model.networks.frame_size
    clip = np.zeros((16, size, size, 3), np.uint8)
    for part in (Part(16, 0, 1, rate=1), Part(16, 0.5, 1, num_frames=3)):
        list(session.redraw(clip, part, SAMPLING, seed=0))
    again = list(session.redraw(clip, Part(16, 0, 0.5, num_frames=17), SAMPLING, seed=9))
    assert not any("Compiling" in stage.note for stage in again)
    assert not compiles(steps=1)
    assert all(compiles(steps) for steps in range(2, 12))
    assert not compiles(steps=11) and compiles(steps=1)
