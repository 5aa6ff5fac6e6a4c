"""What the data set must have for the condition that a config asks for."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glober_jax.data.damage import DamagedVideo
from glober_jax.data.datasets.make import make_dataset
from glober_jax.data.datasets.synthetic_sky import SyntheticSkyOptions
from glober_jax.errors import UserError
from glober_jax.experiment import pipeline as pipeline_module
from glober_jax.experiment.config import parse
from glober_jax.experiment.pipeline import Pipeline
from glober_jax.experiment.stages import stage_clip
from glober_jax.models.latents import Gaussian
from glober_jax.models.networks import NETWORKS, Networks, Params
from glober_jax.sampling.decode import FrameModel, encode_clip
from glober_jax.training import autoencoder
from glober_jax.training.feature_cache import FeatureVideos
from tests.texts import CLIP_LENGTH, CLIP_WIDTH, write_captioned
from tests.tiny import drawn_params, mesh_of, tiny_config, tiny_latent_scale


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_captioned(tmp_path_factory.mktemp("captioned"))


def pipeline(folder: Path, workdir: Path, width: int = CLIP_WIDTH, **condition: Any) -> Pipeline:
    """The tiny experiment on clips of 8 frames, under this condition."""
    config = tiny_config()
    config.data.dir = str(folder)
    config.clip.num_frames = config.model.frame_features.index_slots = 8
    config.model.condition.update({"num_classes": 0, **condition})
    config.model.generator.context_width = width
    return Pipeline(parse(config), workdir, mesh_of())


def test_conditions_that_the_data_set_lacks(folder: Path, tmp_path: Path) -> None:
    """Fails when the lack shows only in the middle of training, or a wrong size in the compiler."""
    text = {"kind": "text", "length": CLIP_LENGTH}
    make_dataset(
        SyntheticSkyOptions(num_videos=2, num_test_videos=1, num_frames=8, size=16),
        tmp_path / "sky",
    )
    with pytest.raises(UserError, match=r"kind is 'text', but .* no texts: .* --clip=DIR"):
        pipeline(tmp_path / "sky", tmp_path, **text)
    with pytest.raises(UserError, match=r"7 tokens of 8, .* 7 of 16: .*context_width=8"):
        pipeline(folder, tmp_path, width=16, **text)
    with pytest.raises(UserError, match=r"7 tokens of 8, .* 5 of 8: .*length=7"):
        pipeline(folder, tmp_path, kind="text", length=5)
    with pytest.raises(UserError, match=r"num_classes=4, but .* 3 classes \(calm, rain, snow\)"):
        pipeline(folder, tmp_path, kind="class", num_classes=4)


def test_previews_are_made_under_what_there_is(folder: Path, tmp_path: Path) -> None:
    """Fails when captions and embeddings part ways, or classes are not taken in turn."""
    of_texts = pipeline(folder, tmp_path, kind="text", length=CLIP_LENGTH).previews
    conditions = of_texts.example_conditions(of_texts.held_out, 5)
    texts = dict(zip(of_texts.held_out["caption"], of_texts.held_out["text"], strict=True))
    assert conditions.record == {"prompts": (list(texts) * 2)[:5]}
    for name, value in zip(conditions.names, conditions.values, strict=True):
        assert (value == texts[name]).all()
    assert of_texts.example_texts().encoder == "random"
    of_classes = pipeline(folder, tmp_path, kind="class", num_classes=3).previews
    assert of_classes.example_conditions(of_classes.held_out, 4).record == {"labels": [0, 1, 2, 0]}
    assert of_classes.example_texts() is None


def test_latents_are_scaled_as_they_are_diffused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when the scale is that of posterior means (as before: here 3 instead of 1), or every
    batch is measured with the same noise.
    """
    made = pipeline(folder, tmp_path, kind="class", num_classes=3)
    mean = 0.5

    def posterior(networks: Networks, params: Params, clips: jax.Array) -> Gaussian:
        pixels = clips.astype(jnp.float32) / 255
        return Gaussian(mean + 0.5 * pixels, jnp.full(clips.shape, 0.6))

    monkeypatch.setattr(autoencoder, "codec_posterior", posterior)
    monkeypatch.setattr(made, "frozen_codec", lambda: ({}, made.data.train))
    stage = made.stage("autoencoder")
    scale = stage.measure()["latent_scale"]
    batch = next(stage.batches(100))
    samples = posterior(made.networks, {}, batch["target_frames"]).sample(jax.random.key(0))
    normalised = scale.normalise(samples)
    np.testing.assert_allclose(normalised.std(axis=(0, 1, 2, 3)), 1.0, atol=0.03)
    np.testing.assert_allclose(normalised.mean(axis=(0, 1, 2, 3)), 0.0, atol=0.1)


def test_features_computed_once_are_those_of_each_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when a feature, label or name belongs to another video than in a step that encodes,
    when the scale is measured on something else, or when a damaged video's feature is used.
    """
    sky = SyntheticSkyOptions(num_videos=12, num_test_videos=2, num_frames=8, size=16)
    make_dataset(sky, tmp_path / "sky")
    made = pipeline(tmp_path / "sky", tmp_path, kind="class", num_classes=4)
    params = drawn_params(made.networks, NETWORKS)
    model = FrameModel(params, tiny_latent_scale(made.experiment))
    monkeypatch.setattr(pipeline_module, "load_frame_model", lambda *_: (0, model))
    monkeypatch.setattr(made, "frozen_codec", lambda: (params, made.data.train))
    once = made.stage("generator")
    monkeypatch.setattr(made, "_features_fit", lambda _: False)
    each = made.stage("generator")
    scales = [jax.device_get(stage.measure()["feature_scale"]) for stage in (once, each)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *scales)
    for number, (encoded, frames) in enumerate(zip(once.batches(3), each.batches(3), strict=True)):
        features = encode_clip(made.networks, model, frames["key_frames"])
        np.testing.assert_allclose(encoded["key_frames"][:, 0], features, rtol=1e-4, atol=1e-5)
        assert (encoded["label"] == frames["label"]).all()
        assert once.videos(3 + number) == each.videos(3 + number)
        if number == 2:
            break
    damaged, kind = made.data.train[1], type(made.data.train[1])
    read = kind.read

    def read_or_raise(video: Any, frame_ids: list[int]) -> np.ndarray:
        if video.video_id == damaged.video_id:
            raise DamagedVideo("video x", "its frame 3 is damaged")
        return read(video, frame_ids)

    monkeypatch.setattr(kind, "read", read_or_raise)
    clip = stage_clip(made.experiment, "generator")
    features = FeatureVideos(made.data.train, clip, made.networks, model, 4, made.mesh)
    with pytest.raises(DamagedVideo, match="frame 3"):
        features[1].read([0])
    assert features[0].read([0]).shape == (1, 4, 4, 16)
