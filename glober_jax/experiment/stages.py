"""The stages of an experiment: their functions, shapes and data, by name."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh

from glober_jax.data.clips import ClipSpec
from glober_jax.data.damage import DamageLog
from glober_jax.data.loader import batch_videos, eval_clips, training_batches
from glober_jax.data.source import VideoSource, check_some_length, open_videos
from glober_jax.errors import UserError
from glober_jax.experiment.options import Experiment
from glober_jax.models import lpips
from glober_jax.models.networks import AUTOENCODER
from glober_jax.parallel.mesh import check_batch
from glober_jax.sampling.decode import FrameModel
from glober_jax.training import autoencoder, codec, generator
from glober_jax.training.restore import constant_shapes
from glober_jax.training.state import StageFunctions, StepFunction, TrainState

STAGES = (codec.NAME, autoencoder.NAME, generator.NAME)


def build_stage(experiment: Experiment, name: str, mesh: Mesh | AbstractMesh) -> StageFunctions:
    """The pure functions of a stage: `create`, `programs`, `step` and `gradients`."""
    shared = (experiment.networks, getattr(experiment, name), experiment.seed, mesh)
    if name == codec.NAME:
        return codec.CodecStage(*shared)
    if name == autoencoder.NAME:
        return autoencoder.AutoencoderStage(*shared, experiment.diffusion)
    return generator.GeneratorStage(*shared, experiment.generator_diffusion)


def total_steps(experiment: Experiment, name: str) -> int:
    """How many steps a stage trains: none for a pretrained codec."""
    options = getattr(experiment, name)
    return options.total_steps if name == codec.NAME else options.steps


def stage_clip(experiment: Experiment, stage: str) -> ClipSpec:
    """What a stage reads of a clip: the codec only targets, the generator only key frames.

    Both at one stride, as the clips that the generator is evaluated by.
    """
    if stage == autoencoder.NAME:
        return experiment.clip
    fields = {"num_target_frames": 0}
    if stage == codec.NAME:
        fields = {"num_target_frames": experiment.codec.frames_per_clip, "num_key_frames": 0}
    return dataclasses.replace(experiment.clip, max_stride=0, **fields)


def reads_text(experiment: Experiment, stage: str) -> bool:
    """Whether a stage's batches hold texts."""
    return stage == generator.NAME and experiment.networks.condition.kind == "text"


def batch_shapes(experiment: Experiment, stage: str) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of a stage's global batches, as `device_batch` returns them."""
    networks, clip = experiment.networks, stage_clip(experiment, stage)
    if experiment.data.cache_latents and stage != codec.NAME:
        height, width, channels = networks.latent_shape
        frame, dtype = (height, width, 2 * channels), np.float16
    else:
        frame, dtype = (networks.frame_size, networks.frame_size, 3), np.uint8
    clips = getattr(experiment, stage).batch_size
    shapes = {"label": jax.ShapeDtypeStruct((clips,), np.int32)}
    if keys := clip.num_key_frames:
        shapes["key_frames"] = jax.ShapeDtypeStruct((clips, keys, *frame), dtype)
    if targets := clip.num_target_frames:
        shapes["target_frames"] = jax.ShapeDtypeStruct((clips, targets, *frame), dtype)
        shapes["target_index"] = jax.ShapeDtypeStruct((clips, targets), np.float32)
    if reads_text(experiment, stage):
        shapes["text"] = networks.condition.input(clips)
    return shapes


def check_stage_batch(experiment: Experiment, stage: str, mesh: Mesh | AbstractMesh) -> None:
    """Raises `UserError` unless a stage's batch divides over the mesh and into micro-batches."""
    options = getattr(experiment, stage)
    stride = options.adversarial.clip_stride if stage == autoencoder.NAME else 1
    check_batch(mesh, options.batch_size, stage, options.micro_batches, stride)


class AbstractStage(NamedTuple):
    """A stage's programs by first step, and the shapes of their arguments."""

    name: str
    total_steps: int
    batch_size: int
    programs: tuple[tuple[int, StepFunction], ...]
    state: TrainState
    frozen: Any
    batch: dict[str, jax.ShapeDtypeStruct]


def abstract_stage(experiment: Experiment, name: str, mesh: Mesh | AbstractMesh) -> AbstractStage:
    """A stage as it would run on `mesh`, without data, weights or checkpoints."""
    networks, stage = experiment.networks, build_stage(experiment, name, mesh)
    if name == codec.NAME:
        has_lpips = experiment.codec.perceptual_weight != 0
        frozen = lpips.shapes(codec.PERCEPTUAL_BACKBONE) if has_lpips else None
    elif name == autoencoder.NAME:
        frozen = networks.shapes(codec.AVERAGED)
    else:
        scale = constant_shapes(networks, autoencoder.NAME)["latent_scale"]
        frozen = FrameModel(networks.shapes((*codec.AVERAGED, *AUTOENCODER)), scale)
    return AbstractStage(
        name=name,
        total_steps=total_steps(experiment, name),
        batch_size=getattr(experiment, name).batch_size,
        programs=stage.programs(),
        state=jax.eval_shape(stage.create, constant_shapes(networks, name)),
        frozen=frozen,
        batch=batch_shapes(experiment, name),
    )


class StageData:
    """Both splits, open; counts damaged videos over all that is read from them."""

    def __init__(self, experiment: Experiment) -> None:
        """Opens the splits.

        Raises:
          UserError: no data set, too many shards missing, no video of a split as long as a clip, or
            not the classes or texts that the config's condition needs.
        """
        data = experiment.data
        self._experiment = experiment
        self.train, self.test = (
            open_videos(data.dir, name, data.max_damaged) for name in ("train", "test")
        )
        self._damage = {}
        for name, videos in {"train": self.train, "test": self.test}.items():
            self._damage[name] = DamageLog(len(videos), data.max_damaged, data.dir)
            check_some_length(videos, experiment.clip, f"{name} videos in {data.dir}")
        self._check_condition()

    def clips(self, split: Literal["train", "test"], count: int) -> dict[str, Any]:
        """Up to `count` centre clips of a split, uint8; see `eval_clips`."""
        return eval_clips(
            getattr(self, split),
            self._experiment.clip,
            count,
            frame_size=self._experiment.networks.frame_size,
            damage=self._damage[split],
        )

    def batches(
        self,
        source: VideoSource,
        clip: ClipSpec,
        batch_size: int,
        seed: int,
        text: bool,
        share: tuple[int, int],
        start_step: int,
    ) -> Iterator[dict[str, np.ndarray]]:
        """Training batches of `train` or its latents; of each, part `share` = (index, count)."""
        data = self._experiment.data
        return training_batches(
            source,
            clip,
            batch_size=batch_size,
            seed=seed,
            start_step=start_step,
            flip=data.flip,
            text=text,
            frame_size=self._experiment.networks.frame_size if source is self.train else None,
            process_index=share[0],
            process_count=share[1],
            damage=self._damage_of(source),
            workers=data.workers,
            threads=data.threads,
            prefetch=data.prefetch,
        )

    def videos(
        self,
        source: VideoSource,
        clip: ClipSpec,
        batch_size: int,
        seed: int,
        text: bool,
        number: int,
    ) -> list[str]:
        """Video IDs of batch `number` of `batches`, all rows; reads the videos again."""
        return batch_videos(
            source,
            clip,
            batch_size=batch_size,
            seed=seed,
            step=number,
            text=text,
            damage=self._damage_of(source),
        )

    @property
    def damage(self) -> DamageLog:
        """Counts damaged videos of the training split."""
        return self._damage["train"]

    def _damage_of(self, source: VideoSource) -> DamageLog:
        """One count for all stages that read the training split, and one for its latents."""
        if source is self.train:
            return self.damage
        data = self._experiment.data
        directory = data.latents_dir or "WORKDIR/latents"
        fresh = DamageLog(len(source), data.max_damaged, directory)
        return self._damage.setdefault("latents", fresh)

    def _check_condition(self) -> None:
        condition, folder = self._experiment.networks.condition, self._experiment.data.dir
        classes, info = self.train.class_names, self.train.text_info
        if condition.kind == "class" and condition.num_classes != len(classes):
            raise UserError(
                f"config.model.condition.num_classes={condition.num_classes}, but the data set in "
                f"{folder} has {len(classes)} classes ({', '.join(classes) or 'none'})"
            )
        if condition.kind != "text":
            return
        if info is None:
            raise UserError(
                f"config.model.condition.kind is 'text', but the data set in {folder} has no "
                "texts: prepare it with python -m glober_jax.prepare video_folder --clip=DIR"
            )
        if (info.length, info.width) != (condition.length, condition.width):
            raise UserError(
                f"the texts of the data set in {folder} are {info.length} tokens of {info.width}, "
                f"but the config wants {condition.length} of {condition.width}: set "
                f"config.model.condition.length={info.length} and "
                f"config.model.generator.context_width={info.width}"
            )
