"""The data set of one experiment, as its stages take it: batches of one split, clips of either."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh

from glober_jax.data.clips import ClipSpec
from glober_jax.data.damage import DamageLog
from glober_jax.data.held_out import eval_clips
from glober_jax.data.loader import batch_videos, training_batches
from glober_jax.data.source import VideoSource, check_some_length, open_videos
from glober_jax.errors import UserError
from glober_jax.experiment.options import Experiment
from glober_jax.parallel.mesh import check_batch
from glober_jax.training import autoencoder, codec, generator


def stage_clip(experiment: Experiment, stage: str) -> ClipSpec:
    """What a stage reads of a clip: the codec only targets, the generator only key frames.

    Both at one stride, so that the generator's clips move as those that it is evaluated by.
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
    """A stage's global batches, as `device_batch` gives them, without any data."""
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


class StageData:
    """Both splits, open; damaged records are counted over all that is read from them."""

    def __init__(self, experiment: Experiment) -> None:
        """Opens the splits.

        Raises:
          UserError: no data set, too many shards missing, no video of a split as long as a clip, or
            not the classes or texts that the config's condition needs.
        """
        data = experiment.data
        self._experiment = experiment
        splits = {name: open_videos(data.dir, name, data.max_damaged) for name in ("train", "test")}
        self.train, self.test = splits.values()
        self._damage = {}
        for name, videos in splits.items():
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
        """Training batches of `train` or its latents: of each the part `share`, (index, count)."""
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
        self, source: VideoSource, clip: ClipSpec, batch_size: int, seed: int, number: int
    ) -> list[str]:
        """IDs of the videos of batch `number` of `batches`, all rows; reads the videos again."""
        damage = self._damage_of(source)
        return batch_videos(
            source, clip, batch_size=batch_size, seed=seed, step=number, damage=damage
        )

    @property
    def damage(self) -> DamageLog:
        """Counts damaged videos of the training split."""
        return self._damage["train"]

    def _damage_of(self, source: VideoSource) -> DamageLog:
        """One count over all stages that read the training split, and one of its latents."""
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
