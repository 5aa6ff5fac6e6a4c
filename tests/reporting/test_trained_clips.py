"""Which frames a model's parts are given, and at which index they are asked for others."""

from typing import Any

import numpy as np
import pytest

from glober_jax.data.clips import ClipSpec
from glober_jax.evaluation.measuring import ClipSet
from glober_jax.reporting.trained_clips import (
    TrainedModel,
    blend,
    encoded_and_decoded,
    first_reconstructions,
    interpolate,
    reconstructed_clips,
)

CLIP = ClipSpec(num_frames=6, num_key_frames=3)


class Recorder:
    """In the place of a model: latents are pixels / 2, and what it was asked is kept."""

    def __init__(self) -> None:
        self.encoded: list[list[int]] = []
        self.frames: list[list[int]] = []
        self.index: list[list[float]] = []

    def encode_frames(self, frames_BnXYC: np.ndarray) -> np.ndarray:
        self.frames.append(frames_BnXYC[0, :, 0, 0, 0].tolist())
        return frames_BnXYC / np.float32(2)

    def decode_latents(self, latents_BnhwZ: np.ndarray) -> np.ndarray:
        return np.round(2 * latents_BnhwZ).astype(np.uint8)

    def encode(self, video_TXYC: np.ndarray) -> np.ndarray:
        self.encoded.append(video_TXYC[:, 0, 0, 0].tolist())
        return video_TXYC[None, :1, 0].astype(np.float32)

    def decode(self, global_BHWG: np.ndarray, index_n: np.ndarray, **_: int) -> np.ndarray:
        self.index.append(index_n.tolist())
        return np.full((len(global_BHWG), len(index_n), 2, 2, 3), 7, np.uint8)


def model(recorder: Recorder) -> TrainedModel:
    steps = {"autoencoder": 1, "generator": 2}
    identity = {"workdir": "w", "steps": steps, "saved": steps, "sampling": {"steps": 5}}
    return TrainedModel(recorder, "w", identity | {"jax": "1", "device": "cpu"})


def real(num_frames: int) -> ClipSet:
    """Two clips, whose frame t has the level t², the second one's 100 more."""
    levels = np.arange(num_frames) ** 2 + np.array([[0], [100]])
    clips = np.broadcast_to(levels[..., None, None, None], (2, num_frames, 2, 2, 3))
    clips = clips.astype(np.uint8)
    return ClipSet("real", {"of": num_frames}, 2, lambda first, count: clips[first:][:count])


def levels(pairs: np.ndarray) -> Any:
    return pairs[..., 0, 0, 0].tolist()


def test_parts_see_their_frames() -> None:
    """Fails when a part is given other frames, clips are mixed, or made and real ones swapped."""
    recorder = Recorder()
    sets = reconstructed_clips(model(recorder), real(6), CLIP, seed=0)
    given = levels(real(6).read(0, 2))
    codec = levels(sets["codec"].read(0, 2))
    assert [pair[0] for pair in codec] == given and [pair[1] for pair in codec] == given
    assert recorder.frames == given
    recorder.frames.clear()
    interpolated = levels(sets["interpolated"].read(1, 1))
    assert recorder.frames == [[100, 109, 125]]
    assert interpolated == [[[100, 103, 106, 109, 117, 125], given[1]]]
    made = sets["reconstruction"].read(0, 2)
    assert (made[:, 0] == 7).all() and levels(made[:, 1]) == given
    assert recorder.encoded == given
    assert recorder.index == [pytest.approx(np.arange(6) / 6)]
    shown = first_reconstructions(model(recorder), real(6), CLIP, seed=0, count=1)
    assert list(shown) == ["Real", "Codec", "Interpolated", "GLOBER"]
    assert levels(shown["Interpolated"]) == [[0, 3, 6, 9, 17, 25]]
    assert all(clips.shape == (1, 6, 2, 2, 3) for clips in shown.values())


def test_only_the_reconstruction_depends_on_sampling() -> None:
    """Fails when the codec's clips are measured again for every way of sampling, or none is."""

    def identities(steps: int) -> dict[str, Any]:
        other = model(Recorder())
        other.identity["sampling"]["steps"] = steps
        sets = reconstructed_clips(other, real(6), CLIP, seed=0)
        return {kind: clips.identity for kind, clips in sets.items()}

    one, two = identities(1), identities(2)
    assert [kind for kind in one if one[kind] != two[kind]] == ["reconstruction"]
    assert one["codec"] != one["interpolated"]


def test_every_second_frame_is_encoded_and_all_are_decoded() -> None:
    """Fails when odd frames are encoded, or frame k is not decoded at k / 2 / T."""
    recorder = Recorder()
    pairs = encoded_and_decoded("x", model(recorder), real(11), 0, CLIP, finer=2).read(0, 2)
    assert recorder.encoded[0] == [0, 4, 16, 36, 64, 100]
    assert recorder.index == [pytest.approx(np.arange(11) / 2 / 6)]
    assert pairs.shape == (2, 2, 11, 2, 2, 3)
    assert levels(pairs[:, 1]) == levels(real(11).read(0, 2))


@pytest.mark.parametrize("keys", [1, 3, 16])
def test_blend_is_linear_in_time_and_holds_the_last(keys: int) -> None:
    """Fails when a key is moved, clips or channels are mixed, or values are rounded or clipped."""
    positions = ClipSpec(num_frames=16, num_key_frames=keys).key_positions
    latents = np.random.default_rng(0).normal(size=(2, keys, 2, 3, 4)).astype(np.float32)
    blended = blend(latents, positions, 16)
    assert blended.dtype == np.float32
    np.testing.assert_array_equal(blended[:, positions], latents)
    # Beyond the last key NumPy holds it too.
    expected = np.apply_along_axis(lambda y: np.interp(np.arange(16), positions, y), 1, latents)
    np.testing.assert_allclose(blended, expected, atol=1e-6)


def test_interpolated_frames_are_pixels() -> None:
    keys = np.array([0, 255, 9], np.uint8).reshape(1, 3, 1, 1, 1)
    frames = interpolate(keys, np.array([0, 2, 5]), 7)
    assert frames.dtype == np.uint8 and frames.ravel().tolist() == [0, 128, 255, 173, 91, 9, 9]
