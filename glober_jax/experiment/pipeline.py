"""The stages of one experiment, wired to its data and to each other.

Dimension key: N clips, F frames, H, W, C of frames or latents.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from glober_jax import media
from glober_jax.data.clips import ClipSpec
from glober_jax.data.latent_videos import LatentVideos, open_latents
from glober_jax.data.source import VideoSource
from glober_jax.errors import UserError
from glober_jax.evaluation import i3d
from glober_jax.evaluation.measuring import i3d_logits
from glober_jax.evaluation.metrics.distances import frechet_distance
from glober_jax.experiment.options import Experiment
from glober_jax.experiment.prepare_latents import codec_id, encode_dataset
from glober_jax.experiment.previews import CLIPS, Previews
from glober_jax.experiment.stages import (
    STAGES,
    StageData,
    build_stage,
    check_stage_batch,
    reads_text,
    stage_clip,
    total_steps,
)
from glober_jax.models.latents import ChannelScale
from glober_jax.models.networks import Params
from glober_jax.parallel.mesh import batch_share, device_batch, replicated
from glober_jax.randomness import named_key
from glober_jax.sampling.decode import FrameModel
from glober_jax.sampling.generate import FeatureModel
from glober_jax.training import autoencoder, codec, generator
from glober_jax.training.best_checkpoint import Grade
from glober_jax.training.checkpoint import newest_step
from glober_jax.training.feature_cache import FEATURE_CLIP, FeatureVideos, fits
from glober_jax.training.loop import Grading, Preview, Stage
from glober_jax.training.restore import (
    constant_shapes,
    load_codec,
    load_frame_model,
    load_pretrained_codec,
)
from glober_jax.training.state import StageFunctions, TrainState


class Pipeline:
    """Builds each stage for the loop. Everything expensive is made on first use."""

    def __init__(self, experiment: Experiment, workdir: epath.PathLike, mesh: Mesh) -> None:
        """Opens the data set, and finds mistakes before anything is compiled.

        Raises:
          UserError: no data set, or other classes, texts or frame sizes than the config's; batches
            that do not divide over the mesh or into micro-batches; several processes with a latent
            cache of the workdir's own; no such pretrained codec, or no I3D weights to grade by.
        """
        self.experiment, self.mesh = experiment, mesh
        self.workdir, self.networks = epath.Path(workdir), experiment.networks
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
            i3d.load()
        _ = self._pretrained_codec
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

    def _stage(
        self,
        built: StageFunctions,
        open_source: Callable[[], tuple[VideoSource, ClipSpec]],
        frozen: Any,
        preview: Callable[[TrainState], Preview],
        measure: Callable[[Iterator[dict[str, np.ndarray]]], dict[str, Any]] = lambda _: {},
        **others: Any,
    ) -> Stage:
        """A stage on clips of a source, which is opened when first read; `measure` gets batches."""
        experiment, name, source = self.experiment, built.name, functools.cache(open_source)
        size = getattr(experiment, name).batch_size
        # Every stage draws its own sequence of clips.
        seed = len(STAGES) * experiment.seed + STAGES.index(name)
        text, share = reads_text(experiment, name), batch_share(self.mesh)

        def batches(start: int) -> Iterator[dict[str, np.ndarray]]:
            return self.data.batches(*source(), size, seed, text, share, start)

        return Stage(
            name=name,
            total_steps=total_steps(experiment, name),
            create=built.create,
            measure=lambda: measure(batches(0)),
            constant_shapes=constant_shapes(self.networks, name),
            programs=built.programs(),
            frozen=frozen,
            batches=batches,
            videos=lambda number: self.data.videos(*source(), size, seed, text, number),
            preview=preview,
            **others,
        )

    def _codec_stage(self) -> Stage:
        stage = build_stage(self.experiment, codec.NAME, self.mesh)
        try:
            frozen = stage.frozen()
        except UserError:
            # A codec that is finished, or was converted, needs no LPIPS.
            if newest_step(self.workdir, codec.NAME) != self.experiment.codec.total_steps:
                raise
            frozen = None

        def preview(state: TrainState) -> Preview:
            return self.previews.codec_reconstruct(state.ema)

        source = self.data.train, stage_clip(self.experiment, codec.NAME)
        given = {"given": lambda: self._pretrained_codec}
        return self._stage(stage, lambda: source, frozen, preview, **given)

    @functools.cached_property
    def _pretrained_codec(self) -> Params:
        """What the codec stage begins and ends with; {} where it is trained, or saved already."""
        name = self.experiment.codec.pretrained
        if not name or newest_step(self.workdir, codec.NAME) is not None:
            return {}
        return load_pretrained_codec(self.networks, name, self.mesh)

    def _autoencoder_stage(self) -> Stage:
        experiment, networks = self.experiment, self.networks
        codec_params, source = self.frozen_codec()
        clip = stage_clip(experiment, autoencoder.NAME)

        def measure(batches: Iterator[dict[str, np.ndarray]]) -> dict[str, Any]:
            if given := experiment.autoencoder.latent_scale:
                return {"latent_scale": ChannelScale.constant(given, networks.latent_shape[-1])}

            def latents(params: Params, target_frames: jax.Array, number: jax.Array) -> jax.Array:
                # Samples, as they are diffused.
                posterior = autoencoder.codec_posterior(networks, params, target_frames)
                return posterior.sample(named_key(experiment.seed, "latent_scale", number))

            scale = measured_scale(latents, codec_params, batches, "target_frames", self.mesh)
            return {"latent_scale": scale}

        def preview(state: TrainState) -> Preview:
            model = FrameModel(codec_params | state.ema, state.constants["latent_scale"])
            return self.previews.reconstruct(model)

        stage = build_stage(experiment, autoencoder.NAME, self.mesh)
        return self._stage(stage, lambda: (source, clip), codec_params, preview, measure)

    def _generator_stage(self) -> Stage:
        experiment = self.experiment
        _, source = self.frozen_codec()
        _, frame_model = load_frame_model(self.networks, self.workdir, self.mesh)
        clip = stage_clip(experiment, generator.NAME)
        encoded = self._features_fit(source)
        stage = build_stage(experiment, generator.NAME, self.mesh)
        stage = dataclasses.replace(stage, encoded=encoded)

        def open_source() -> tuple[VideoSource, ClipSpec]:
            if not encoded:
                return source, clip
            size = experiment.generator.batch_size
            features = FeatureVideos(source, clip, self.networks, frame_model, size, self.mesh)
            return features, FEATURE_CLIP

        def measure(batches: Iterator[dict[str, np.ndarray]]) -> dict[str, Any]:
            def features(model: FrameModel, key_frames: jax.Array, _: jax.Array) -> jax.Array:
                return stage.features(model, key_frames)

            scale = measured_scale(features, frame_model, batches, "key_frames", self.mesh)
            return {"feature_scale": scale}

        def preview(state: TrainState) -> Preview:
            model = FeatureModel(state.ema, state.constants["feature_scale"])
            conditions = self.previews.example_conditions(self.previews.held_out, CLIPS)
            videos = self.previews.generate(frame_model, model, conditions, experiment.seed)
            return Preview({}, {"generated": media.contact_sheet(videos)})

        grading = self._grading(frame_model)
        return self._stage(stage, open_source, frame_model, preview, measure, grading=grading)

    def _features_fit(self, source: VideoSource) -> bool:
        """Whether features are computed once (`feature_cache`)."""
        data, clip = self.experiment.data, stage_clip(self.experiment, generator.NAME)
        in_memory = data.cache_latents and not data.workers and jax.process_count() == 1
        return in_memory and not data.flip and fits(source, clip, self.networks.global_shape)

    def _grading(self, frame_model: FrameModel) -> Grading | None:
        """Grades checkpoints of the generator by a Frechet video distance to some test clips."""
        evaluation, seed, previews = self.experiment.evaluation, self.experiment.seed, self.previews
        if not evaluation.grade_every:
            return None
        clips = self.data.clips("test", evaluation.grade_clips)
        conditions = previews.example_conditions(clips, len(clips["frames"]))
        extractor = i3d_logits(self.mesh, "stretch")
        real = extractor.measure(clips["frames"])["logits"]

        def generated(model: FeatureModel) -> Iterator[np.ndarray]:
            for first in range(0, len(conditions.values), CLIPS):
                part = conditions.values[first : first + CLIPS]
                features = previews.feature_sampler(model, part, seed, first)
                yield from previews.video_sampler.decode(
                    frame_model, features, clips["index"], seed, first_video=first
                )

        def grade(state: TrainState) -> Grade:
            model = FeatureModel(state.ema, state.constants["feature_scale"])
            made = extractor.measure(generated(model))["logits"]
            return Grade(f"fvd_of_{len(real)}", frechet_distance(real, made, ddof=0))

        return Grading(evaluation.grade_every, grade)

    def _latents(self, params: Params) -> LatentVideos:
        """The cache that the config names, or the workdir's own, made if it is missing."""
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
        damage = self.data.damage
        encode_dataset(
            self.experiment, source, params, self.mesh, self.workdir, folder, damage, overwrite=True
        )
        return reopen()


def measured_scale(
    compute: Callable[[Params, jax.Array, jax.Array], jax.Array],
    model: Any,
    batches: Iterator[dict[str, np.ndarray]],
    field: str,
    mesh: Mesh,
) -> ChannelScale:
    """Mean and deviation of each channel over the first 256 clips of `batches`.

    `compute` is a pure (model, rows [N, F, H, W, C], batch number) -> values, channels last; the
    rows are those of `field`, of all processes. `model` is an argument because shards on other
    processes cannot be closed over.
    """
    compute = jax.jit(compute, out_shardings=replicated(mesh))
    values, clips = [], 0
    for number, batch in enumerate(batches):
        needed = {name: batch[name] for name in (field, "mirrored") if name in batch}
        rows_NFHWC = device_batch(needed, mesh)[field]
        values.append(jax.device_get(compute(model, rows_NFHWC, number)))
        clips += len(rows_NFHWC)
        if clips >= 256:
            break
    return ChannelScale.measure(np.concatenate(values))
