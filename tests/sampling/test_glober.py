"""What a model refuses when it is called from Python: as the commands do, in one sentence."""

import functools
from typing import Any

import numpy as np
import pytest

from glober_jax.diffusion.samplers import SPACINGS
from glober_jax.errors import UserError
from glober_jax.sampling.glober import Glober
from glober_jax.sampling.indices import frame_indices

VIDEO = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), np.uint8)


@pytest.fixture(scope="module")
def model(small_glober: Glober) -> Glober:
    return small_glober.with_options(chunk_frames=4)


@pytest.fixture(scope="module")
def features(model: Glober) -> np.ndarray:
    return np.zeros((2, *model.networks.global_shape), np.float32)


NO_INDICES = {
    "frame numbers": (np.arange(4), "has 2: all lie between 0, the clip's first frame, and 1"),
    "before the first": ([-0.1], "has -0.1: all lie between"),
    "NaN": ([0.5, np.nan], "has nan: all lie between"),
    "none": ([], "a video of 0 frames is not possible: from 1 to 100,000 are"),
    "too many": (np.zeros(100_001), "a video of 100,001 frames is not possible"),
    "one number": (0.5, r"shaped \[\]: give a list"),
    "by video": (np.zeros((2, 3)), r"shaped \[2, 3\]: give a list of numbers .* all videos"),
    "words": (["first"], "give numbers from 0 to 1"),
    "a mask": ([True, False], "give numbers from 0 to 1"),
    "ragged": ([[0.1], [0.1, 0.2]], "give numbers from 0 to 1"),
}


@pytest.mark.parametrize(("indices", "says"), NO_INDICES.values(), ids=NO_INDICES)
def test_indices_outside_of_a_clip_are_refused(
    model: Glober, features: np.ndarray, indices: Any, says: str
) -> None:
    """Fails when decoding takes what --indices does not, or says something else about it."""
    for call in (model.decode, model.chunks):
        with pytest.raises(UserError, match=f"index_n .*{says}|^{says}") as caught:
            call(features, indices)
    if isinstance(indices, list) and indices:
        with pytest.raises(UserError) as by_command:
            frame_indices(16, indices=indices)
        assert str(by_command.value).replace("--indices", "index_n") == str(caught.value)


NO_FEATURES = {
    "none": (lambda x: x[:0], "is empty"),
    "of one video": (lambda x: x[0], r"not float32 \[B, .*\]; of a single one give x\[None\]"),
    "of another model": (lambda x: x[..., :-1], r"not float32 \[B, "),
    "NaN": (lambda x: x * np.nan, "NaN or infinite"),
    "too large": (lambda x: x + 1e300, "NaN or infinite"),
    "numbers of colours": (lambda x: x.astype(np.int32), r"int32 .*, not float32"),
    "frames": (lambda x: VIDEO[None], r"uint8 \[1, 16, 8, 8, 3\], not float32"),
    "ragged": (lambda x: [x[0], x[0, :1]], "no array"),
}


@pytest.mark.parametrize(("change", "says"), NO_FEATURES.values(), ids=NO_FEATURES)
def test_what_the_model_did_not_make_is_refused(
    model: Glober, features: np.ndarray, change: Any, says: str
) -> None:
    """Fails when shapes, types or NaN end in an error of some library, or in frames."""
    with pytest.raises(UserError, match=f"^the global feature .*{says}"):
        model.decode(change(features.astype(np.float64)), [0.5])
    latents = np.zeros((1, 2, *model.networks.latent_shape))
    if "B, " not in says:
        with pytest.raises(UserError, match=f"^the latents .*{says}"):
            model.decode_latents(change(latents))


NO_VIDEOS = {
    "0..1": lambda x: (x / 255).astype(np.float32),
    "-1..1": lambda x: x / 127.5 - 1,
    "whole": lambda x: x.astype(np.int64),
    "16 bits": lambda x: x.astype(np.uint16) * 257,
    "transparent": lambda x: np.concatenate([x, x[..., :1]], -1),
    "colours first": lambda x: np.moveaxis(x, -1, -3),
    "several": lambda x: x[None],
}


@pytest.mark.parametrize("change", NO_VIDEOS.values(), ids=NO_VIDEOS)
def test_videos_stored_otherwise_come_with_the_conversion(model: Glober, change: Any) -> None:
    """Fails when other numbers are taken for pixels, or who does as told gets another video."""
    x = change(VIDEO)
    for call in (model.encode, model.reconstruct):
        with pytest.raises(UserError, match=r"^the video is .*give ") as caught:
            call(x)
    expression = str(caught.value).rpartition("give ")[2]
    np.testing.assert_array_equal(eval(expression, {"x": x, "np": np}), VIDEO)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x: x[..., 0], r"np.repeat\(x\[..., None\], 3, axis=-1\)"),
        (lambda x: x[..., :1], r"np.repeat\(x, 3, axis=-1\)"),
        (lambda x: x[..., :2], "no last axis of 3 colours"),
        (lambda x: x[:, :, :5], "frames of 5x8 and the model takes 8x8: crop and resize"),
        (lambda x: x[:3], "has 3 frames, and the model looks at 4"),
        (lambda x: x[:0], "is empty"),
        (lambda x: x[0], r"an axis is missing"),
        (lambda x: np.float32(x) * np.nan, "NaN or infinite"),
        (lambda x: None, "object"),
        (lambda x: "clouds.mp4", "not uint8"),
    ],
)
def test_what_is_no_video_is_refused(model: Glober, change: Any, says: str) -> None:
    """Fails when grey frames, or too few, end in an error of some library."""
    for call in (model.encode, model.reconstruct):
        with pytest.raises(UserError, match=f"^the video .*{says}"):
            call(change(VIDEO))
    if "looks at" not in says:
        with pytest.raises(UserError, match=r"^the array "):
            model.encode_frames(change(VIDEO))


def test_numbers_and_conditions_that_are_none(model: Glober, features: np.ndarray) -> None:
    """Fails when a seed, a count or a label is rounded, wrapped around or divided by."""
    decode = functools.partial(model.decode, features, [0.5])
    for call in (decode, functools.partial(model.generate_globals, 1)):
        for name in ("seed", "first_video"):
            for value in (-1, 2**64, 0.5, None, "1", True, np.nan, [1]):
                with pytest.raises(UserError, match=f"^{name} is .*must be a whole number from 0"):
                    call(**{name: value})
    for count in (0, -1, 2.0, 10**12, None, True):
        with pytest.raises(UserError, match=r"^count is .*must be a whole number from 1 to"):
            model.generate_globals(count)
    for condition in ([], ["sunset"], "sunset", 3, [0.5], [True], [[1]], np.zeros((1, 2, 3))):
        with pytest.raises(UserError, match="not what this model was trained on: give labels"):
            model.generate_globals(1, condition)
    for label in (-1, 4, 10**6):
        with pytest.raises(UserError, match=f"no class {label}: choose one of clear, broken"):
            model.generate_globals(1, np.array([0, label]))
    for wanted in (1.0, True, None, ["clear"], np.array([1, 2]), "9" * 5000):
        with pytest.raises(UserError, match="there is no class "):
            model.condition(wanted)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"stpes": 3}, "sampling.stpes; did you mean config.sampling.steps"),
        ({"steps": 0}, "steps must lie in 1..1000, got 0"),
        ({"steps": 2.0}, "steps is 2.0, but must be an integer"),
        ({"condition_scale": np.nan}, "condition_scale is nan, but must be a finite"),
        ({"sampler": "euler"}, "sampler is 'euler'; choose one of ddim, dpm"),
        ({"sampler": "dpm++"}, "eta is 0.5, but the sampler dpm"),
        ({"chunk_frames": 0}, "chunk_frames must be 1 or more"),
        ({"fps": 0.0}, "fps is 0.0, but must be above 0"),
        ({"shared_noise": 1.5}, "shared_noise is 1.5"),
    ],
)
def test_options_are_checked_as_those_of_a_config(
    model: Glober, changes: dict[str, Any], says: str
) -> None:
    """Fails when a wrong option is found out by a library, or by nobody."""
    with pytest.raises(UserError, match=says):
        model.with_options(**changes)


def test_what_is_right_stays_right(model: Glober, features: np.ndarray) -> None:
    """Fails when a check refuses or changes what was always possible."""
    other = model.with_options(sampler="dpm++", eta=0.0, steps=np.int64(3))
    assert (other.options.spacing, other.options.steps) == (SPACINGS["dpm++"][0], 3)
    expected = model.decode(features, [0.0, 0.123, 1.0])
    assert expected.shape == (2, 3, 8, 8, 3) and expected.dtype == np.uint8
    for same in (features.astype(np.float64), features.tolist()):
        made = model.decode(same, (0, np.float32(0.123), 1), seed=np.uint8(0))
        assert np.abs(made.astype(int) - expected).max() <= 1
    for sunset in ("sunset", "3", 3, np.int64(3)):
        assert model.condition(sunset).tolist() == [3]
    named = model.generate_globals(1, model.condition("broken"), seed=2, first_video=1)
    in_turn = model.generate_globals(2, seed=2)
    np.testing.assert_allclose(named[0], in_turn[1], rtol=1e-4, atol=1e-5)
    assert model.reconstruct(list(VIDEO)).shape == VIDEO.shape
