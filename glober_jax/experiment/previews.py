"""Previews of a model in training: held-out clips reconstructed, new ones generated.

Dimension key: N clips, T frames, H, W frame size, C colours.
"""

import functools
from typing import Any

import numpy as np
from jax.sharding import Mesh

from glober_jax import media
from glober_jax.evaluation.metrics.frame_quality import FrameScores
from glober_jax.experiment.options import Experiment
from glober_jax.experiment.stages import StageData
from glober_jax.models.latents import ChannelScale
from glober_jax.models.networks import Params
from glober_jax.sampling.decode import FrameModel, VideoSampler
from glober_jax.sampling.generate import (
    Conditions,
    FeatureModel,
    FeatureSampler,
    class_conditions,
    no_conditions,
    text_conditions,
)
from glober_jax.training.loop import Preview
from glober_jax.training.restore import ExampleTexts

CLIPS = 8


class Previews:
    """Samplers and scores of one experiment, compiled on first use, and the clips they show.

    Attributes:
      held_out: up to 8 centre clips of the test split, see `StageData.clips`.
    """

    def __init__(self, experiment: Experiment, data: StageData, mesh: Mesh) -> None:
        """Reads the clips; `UserError` if a frame has a wrong size, or a video is damaged."""
        self.networks, self._seed = experiment.networks, experiment.seed
        self.held_out = data.clips("test", CLIPS)
        self._class_names, self._text_info = data.train.class_names, data.train.text_info
        options = (experiment.sampling, mesh)
        self.video_sampler = VideoSampler(self.networks, experiment.diffusion, *options)
        process = experiment.generator_diffusion
        self.feature_sampler = FeatureSampler(self.networks, process, *options)

    @functools.cached_property
    def _scores(self) -> FrameScores:
        return FrameScores(self.networks.frame_size)

    def reconstruct(self, model: FrameModel) -> Preview:
        """Held-out clips encoded from their key frames and decoded in full."""
        features = self.video_sampler.encode(model, self.held_out["key_frames"])
        index = self.held_out["index"]
        return self._compare(self.video_sampler.decode(model, features, index, self._seed))

    def codec_reconstruct(self, params: Params) -> Preview:
        """The codec's round trip of held-out clips, clip by clip, without noise."""
        model = FrameModel(params, ChannelScale.constant(1.0, self.networks.latent_shape[-1]))
        made = []
        for clip_THWC in self.held_out["frames"]:
            latents = self.video_sampler.encode_frames(model, clip_THWC[None])
            made.append(self.video_sampler.decode_latents(model, latents))
        return self._compare(np.concatenate(made))

    def generate(
        self,
        frame_model: FrameModel,
        feature_model: FeatureModel,
        conditions: Conditions,
        seed: int,
    ) -> np.ndarray:
        """New videos at the training clips' own indices: uint8 [N, T, H, W, 3]."""
        features = self.feature_sampler(feature_model, conditions.values, seed)
        index = self.held_out["index"]
        return self.video_sampler.decode(frame_model, features, index, seed)

    def example_conditions(self, clips: dict[str, Any], count: int) -> Conditions:
        """Conditions of `count` videos: every class, or the texts of `clips`, in turn."""
        condition = self.networks.condition
        if condition.kind == "text":
            return text_conditions(count, clips["caption"], clips["text"])
        if condition.kind == "class":
            return class_conditions(count, range(condition.num_classes), self._class_names)
        return no_conditions(count)

    def example_texts(self) -> ExampleTexts | None:
        """The captions of the clips that previews show; None unless trained on texts."""
        if self.networks.condition.kind != "text":
            return None
        captions, texts = self.held_out["caption"], self.held_out["text"]
        return ExampleTexts(tuple(captions), texts, self._text_info.encoder)

    def _compare(self, made_NTHWC: np.ndarray) -> Preview:
        """Scores of reconstructions, PSNR and, if installed, LPIPS, and a sheet of both."""
        real_NTHWC = self.held_out["frames"]
        scores = self._scores(made_NTHWC, real_NTHWC)
        sheet = media.comparison_sheet({"real": real_NTHWC, "reconstructed": made_NTHWC})
        named = {f"held_out_{name}": value for name, value in scores.items()}
        return Preview(named, {"held_out": sheet})
