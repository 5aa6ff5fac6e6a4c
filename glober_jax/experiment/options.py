"""The checked, typed options of an experiment, as `config.parse` returns them."""

import dataclasses
from typing import Any

from glober_jax.data.clips import ClipSpec
from glober_jax.diffusion.process import DiffusionProcess
from glober_jax.models.networks import Networks
from glober_jax.parallel.mesh import MeshShape
from glober_jax.sampling.options import SamplingOptions
from glober_jax.training.autoencoder import AutoencoderTraining
from glober_jax.training.codec import CodecTraining
from glober_jax.training.generator import GeneratorTraining
from glober_jax.training.loop import LoopOptions


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """Where the clips come from.

    `dir` is the --output of `glober_jax.prepare`, or its copy at a gs:// path. `cache_latents`
    trains on latents that are encoded once: those in `latents_dir`, the --output of `prepare
    latents`, or if that is empty those in WORKDIR/latents, made when the codec is trained. A
    fraction `max_damaged` of a split's videos may be damaged, and is replaced by others. `workers`
    processes (0: this one) read and decode with `threads` threads and `prefetch` batches each.
    """

    dir: str
    flip: bool = False
    cache_latents: bool = False
    latents_dir: str = ""
    max_damaged: float = 0.0
    workers: int = 0
    threads: int = 2
    prefetch: int = 4


@dataclasses.dataclass(frozen=True)
class EvaluationOptions:
    """How training is judged; needs the packages of requirements-eval.txt.

    `protocol` scores the finished run and makes its report; "": none. Every `grade_every` steps
    (0: never) of the generator, the FVD of `grade_clips` new clips to as many test clips is
    measured, and the best checkpoint is kept beside the newest.
    """

    protocol: str = "small"
    grade_every: int = 0
    grade_clips: int = 64


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One experiment; `source` is the config it was parsed from, as plain JSON-able values."""

    seed: int
    data: DataOptions
    clip: ClipSpec
    networks: Networks
    diffusion: DiffusionProcess
    generator_diffusion: DiffusionProcess
    codec: CodecTraining
    autoencoder: AutoencoderTraining
    generator: GeneratorTraining
    mesh: MeshShape
    loop: LoopOptions
    sampling: SamplingOptions
    evaluation: EvaluationOptions
    source: dict[str, Any]
