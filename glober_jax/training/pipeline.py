"""The stages of one experiment, wired to its data and to each other.

Dimension key: N clips, T frames, K key frames, H, W frame size.
"""

import dataclasses
import functools
import os
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from glober_jax import media
from glober_jax.data.building.output_folder import local_folder
from glober_jax.data.clips import ClipSpec
from glober_jax.data.latent_videos import LatentVideos, open_latents
from glober_jax.data.source import VideoSource
from glober_jax.errors import UserError
from glober_jax.evaluation import i3d
from glober_jax.experiment import Experiment
from glober_jax.models.latents import ChannelScale
from glober_jax.models.networks import Params
from glober_jax.parallel.mesh import batch_share, replicated
from glober_jax.randomness import named_key
from glober_jax.sampling.decode import FrameModel
from glober_jax.sampling.generate import FeatureModel
from glober_jax.training import autoencoder, codec, generator
from glober_jax.training.channel_scale import measured_scale
from glober_jax.training.checkpoint import newest_step
from glober_jax.training.feature_cache import FEATURE_CLIP, FeatureVideos, fits
from glober_jax.training.grades import Grade
from glober_jax.training.grading import FvdGrader
from glober_jax.training.loop import Grading, Preview, Stage
from glober_jax.training.prepare_latents import codec_id, encode_dataset
from glober_jax.training.pretrained_codec import load_pretrained_codec
from glober_jax.training.previews import CLIPS, Previews
from glober_jax.training.stage_data import StageData, check_stage_batch, reads_text, stage_clip
from glober_jax.training.stages import STAGES, build_stage
from glober_jax.training.state import TrainState
from glober_jax.training.trained import constant_shapes, load_codec, load_frame_model


class Pipeline:
    """Builds each stage for the loop. Everything expensive is made on first use."""

    def __init__(self, experiment: Experiment, workdir: epath.PathLike, mesh: Mesh) -> None:
        """Opens the data set and checks what needs the mesh or the data.

        Raises:
          UserError: no data set, batches that do not divide over the mesh or into micro-batches,
            more than one process with a latent cache, or classes, texts or frames that are not the
            data set's.
        """
        self.experiment, self.mesh = experiment, mesh
        self.workdir = epath.Path(workdir)
        self.networks = experiment.networks
        self.data = StageData(experiment)
        for name in STAGES:
            check_stage_batch(experiment, name, mesh)
        data = experiment.data
        if data.cache_latents and not data.latents_dir and jax.process_count() > 1:
            raise UserError(
                "the workdir's own latents are made by one process: make them with python -m "
                "glober_jax.prepare latents and set config.data.latents_dir, or set "
                "config.data.cache_latents=False"
            )
        if experiment.evaluation.grade_every:
            # Hours before the generator begins.
            i3d.load()
        # Where there is one it fits, which is better known before anything is compiled.
        _ = self._pretrained_codec
        # Now: frames of a wrong size, and videos that are damaged or too short, are better found
        # before anything is compiled.
        self.previews = Previews(experiment, self.data, mesh)

    def stage(self, name: str) -> Stage:
        """The stage of that name, ready for the loop."""
        return {
            codec.NAME: self._codec_stage,
            autoencoder.NAME: self._autoencoder_stage,
            generator.NAME: self._generator_stage,
        }[name]()

    def frozen_codec(self) -> tuple[Params, VideoSource]:
        """The trained codec, and the training videos as pixels or as its cached moments."""
        _, params = load_codec(self.networks, self.workdir, self.mesh)
        if not self.experiment.data.cache_latents:
            return params, self.data.train

        return params, self._latents(params)

    def _drawn(
        self, name: str, source: VideoSource, clip: ClipSpec | None = None
    ) -> tuple[Any, Any]:
        """A stage's (batches, videos), as its `Stage` wants them."""
        clip = clip or stage_clip(self.experiment, name)
        size = getattr(self.experiment, name).batch_size
        # Every stage draws its own sequence of clips.
        seed = len(STAGES) * self.experiment.seed + STAGES.index(name)
        text, share = reads_text(self.experiment, name), batch_share(self.mesh)
        return (
            functools.partial(self.data.batches, source, clip, size, seed, text, share),
            functools.partial(self.data.videos, source, clip, size, seed),
        )

    def _codec_stage(self) -> Stage:
        experiment = self.experiment
        options = experiment.codec
        stage = build_stage(experiment, codec.NAME, self.mesh)
        try:
            frozen = stage.frozen()
        except UserError:
            # Where the codec is finished, or was converted, nobody has to have LPIPS.
            if newest_step(self.workdir, codec.NAME) != options.total_steps:
                raise
            frozen = None
        batches, videos = self._drawn(codec.NAME, self.data.train)

        def preview(state: TrainState) -> Preview:
            frames = self.previews.held_out["frames"]
            return self.previews.compare(self.previews.codec_reconstruct(state.ema, frames))

        return Stage(
            name=codec.NAME,
            total_steps=options.total_steps,
            create=stage.create,
            measure=dict,
            constant_shapes={},
            programs=stage.programs(),
            frozen=frozen,
            batches=batches,
            videos=videos,
            preview=preview,
            given=lambda: self._pretrained_codec,
        )

    @functools.cached_property
    def _pretrained_codec(self) -> Params:
        """What the codec stage begins and ends with; {} where it is trained, or there already."""
        name = self.experiment.codec.pretrained
        if not name or newest_step(self.workdir, codec.NAME) is not None:
            return {}
        return load_pretrained_codec(self.networks, name, self.mesh)

    def _autoencoder_stage(self) -> Stage:
        experiment = self.experiment
        options = experiment.autoencoder
        codec_params, source = self.frozen_codec()
        stage = build_stage(experiment, autoencoder.NAME, self.mesh)
        batches, videos = self._drawn(autoencoder.NAME, source)

        def measure() -> dict[str, Any]:
            if options.latent_scale:
                channels = self.networks.latent_shape[-1]
                return {"latent_scale": ChannelScale.constant(options.latent_scale, channels)}

            def latents(params: Params, target_frames: jax.Array, number: jax.Array) -> jax.Array:
                """Samples, as they are diffused."""
                posterior = autoencoder.codec_posterior(self.networks, params, target_frames)
                return posterior.sample(named_key(experiment.seed, "latent_scale", number))

            scale = measured_scale(latents, codec_params, batches(0), "target_frames", self.mesh)
            return {"latent_scale": scale}

        def preview(state: TrainState) -> Preview:
            model = FrameModel(codec_params | state.ema, state.constants["latent_scale"])
            clips = self.previews.held_out
            return self.previews.compare(self.previews.reconstruct(model, clips))

        return Stage(
            name=autoencoder.NAME,
            total_steps=options.steps,
            create=stage.create,
            measure=measure,
            constant_shapes=constant_shapes(self.networks, autoencoder.NAME),
            programs=stage.programs(),
            frozen=codec_params,
            batches=batches,
            videos=videos,
            preview=preview,
        )

    def _generator_stage(self) -> Stage:
        experiment = self.experiment
        options = experiment.generator
        _, source = self.frozen_codec()
        _, frame_model = load_frame_model(self.networks, self.workdir, self.mesh)
        encoded = self._features_fit(source)
        stage = dataclasses.replace(
            build_stage(experiment, generator.NAME, self.mesh), encoded=encoded
        )

        @functools.cache
        def drawn() -> tuple[Any, Any]:
            if not encoded:
                return self._drawn(generator.NAME, source)
            clip = stage_clip(experiment, generator.NAME)
            features = FeatureVideos(
                source, clip, self.networks, frame_model, options.batch_size, self.mesh
            )
            return self._drawn(generator.NAME, features, FEATURE_CLIP)

        def measure() -> dict[str, Any]:
            batches, _ = drawn()
            scale = measured_scale(
                lambda model, key_frames, _number: stage.features(model, key_frames),
                frame_model,
                batches(0),
                "key_frames",
                self.mesh,
            )
            return {"feature_scale": scale}

        def preview(state: TrainState) -> Preview:
            model = FeatureModel(state.ema, state.constants["feature_scale"])
            conditions = self.previews.example_conditions(self.previews.held_out, CLIPS)
            videos = self.previews.generate(frame_model, model, conditions, experiment.seed)
            return Preview({}, {"generated": media.contact_sheet(videos)})

        return Stage(
            name=generator.NAME,
            total_steps=options.steps,
            create=stage.create,
            measure=measure,
            constant_shapes=constant_shapes(self.networks, generator.NAME),
            programs=stage.programs(),
            frozen=frame_model,
            batches=lambda start: drawn()[0](start),
            videos=lambda number: drawn()[1](number),
            preview=preview,
            grading=self._grading(frame_model),
        )

    def _features_fit(self, source: VideoSource) -> bool:
        """Whether the generator reads features that are computed once, see `feature_cache`."""
        data, clip = self.experiment.data, stage_clip(self.experiment, generator.NAME)
        in_memory = data.cache_latents and not data.workers and jax.process_count() == 1
        return in_memory and not data.flip and fits(source, clip, self.networks.global_shape)

    def _grading(self, frame_model: FrameModel) -> Grading | None:
        """How checkpoints of the generator are graded; None where the config asks for none."""
        evaluation, seed = self.experiment.evaluation, self.experiment.seed
        if not evaluation.grade_every:
            return None
        clips = self.data.clips("test", evaluation.grade_clips)
        previews = self.previews
        conditions = previews.example_conditions(clips, len(clips["frames"]))
        grader = FvdGrader(clips["frames"], self.mesh)

        def generated(model: FeatureModel) -> Iterator[np.ndarray]:
            for first in range(0, len(conditions.values), CLIPS):
                part = conditions.values[first : first + CLIPS]
                features = previews.feature_sampler(model, part, seed, first)
                yield from previews.video_sampler.decode(
                    frame_model, features, clips["index"], seed, first_video=first
                )

        def grade(state: TrainState) -> Grade:
            return grader(generated(FeatureModel(state.ema, state.constants["feature_scale"])))

        return Grading(evaluation.grade_every, grade)

    def _latents(self, params: Params) -> LatentVideos:
        """The cache that the config names, or the workdir's own, made where it is missing."""
        data, source = self.experiment.data, self.data.train
        folder = epath.Path(data.latents_dir or self.workdir / "latents")
        # Other processes may hold shards.
        whole = jax.jit(lambda tree: tree, out_shardings=replicated(self.mesh))(params)
        reopen = functools.partial(
            open_latents, folder, source, codec_id(whole), flip=data.flip,
            max_damaged=data.max_damaged,
        )  # fmt: skip
        try:
            return reopen()
        except UserError:
            if data.latents_dir:
                raise
        encode_dataset(
            data.dir, source, self.networks, params, self.mesh, self.workdir,
            local_folder(os.fspath(folder)),
            flip=data.flip, damage=self.data.damage, overwrite=True,
        )  # fmt: skip
        return reopen()
