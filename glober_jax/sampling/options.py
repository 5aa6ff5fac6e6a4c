"""How frames and global features are sampled: `config.sampling`."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

import numpy as np

from glober_jax.diffusion.guidance import ConditionGuidance, DecoderGuidance
from glober_jax.diffusion.predictor import EVERYWHERE, Interval
from glober_jax.diffusion.process import DiffusionProcess
from glober_jax.diffusion.samplers import SPACINGS, Sampler, Solver, Spacing
from glober_jax.errors import UserError
from glober_jax.values import check_keys, check_value

# Branch of guidance -> its scale, the scale at which it is unused, and the input it is without.
_BRANCHES = {
    "video": ("video_scale", 0, "key frames (config.autoencoder.key_dropout)"),
    "domain": ("domain_scale", 1, "domain tokens (config.autoencoder.domain_dropout)"),
    "without": (
        "condition_scale",
        1,
        "a condition (config.generator.condition_dropout; unconditional: never)",
    ),
}


@dataclasses.dataclass(frozen=True)
class SamplingOptions:
    """Used by the frame decoder and the global generator alike.

    Attributes:
      sampler, spacing: "ddim", first order, with "trailing" or "leading" (as published); "dpm++",
        DPM-Solver++(2M), second order, with "log_snr" or "karras": on the quick start closer to the
        converged result in 8 to 15 steps than DDIM in 50.
      steps, decoder_steps: network calls (in each branch of the guidance, and for each channel
        group of the generator); the decoder makes `steps` where `decoder_steps` is 0.
      eta: of DDIM: 0 is deterministic from the first noise, 1 adds as much as DDPM does.
      threshold: percentile, as a fraction, of dynamic thresholding; 0 is off.
      video_scale, domain_scale: guidance of the decoder, in `decoder_interval` of noise levels.
      condition_scale: guidance of the generator, in `condition_interval`.
      shared_noise: share of a frame's initial noise, in variance, common to all frames of the
        video: 0 as published, 1 keeps texture still between frames.
      chunk_frames: frames that are denoised at once on each device, which bounds memory.
      fps: written into the videos.
    """

    sampler: Sampler = "ddim"
    steps: int = 50
    decoder_steps: int = 0
    spacing: Spacing = "trailing"
    eta: float = 0.0
    threshold: float = 0.0
    video_scale: float = 0.0
    domain_scale: float = 1.0
    decoder_interval: Interval = EVERYWHERE
    condition_scale: float = 1.0
    condition_interval: Interval = EVERYWHERE
    shared_noise: float = 0.0
    chunk_frames: int = 128
    fps: float = 8.0

    @property
    def solver(self) -> Solver:
        return Solver(self.sampler, self.steps, self.spacing, self.eta, self.threshold)

    @property
    def decoder_solver(self) -> Solver:
        return dataclasses.replace(self.solver, steps=self.decoder_steps or self.steps)

    @property
    def decoder_guidance(self) -> DecoderGuidance:
        return DecoderGuidance(self.video_scale, self.domain_scale, self.decoder_interval)

    @property
    def condition_guidance(self) -> ConditionGuidance:
        return ConditionGuidance(self.condition_scale, self.condition_interval)


def changed(
    options: SamplingOptions,
    changes: Mapping[str, Any],
    processes: tuple[DiffusionProcess, DiffusionProcess],
    shares: Mapping[str, float] | None,
) -> SamplingOptions:
    """The options with some fields changed, all of them checked.

    Another sampler comes with its usual spacing unless `changes` names one. `processes` are those
    of decoder and generator, `shares` the part of training clips that each branch of guidance was
    seen on (None: unknown). Raises `UserError` for an unknown field, a value of another type or
    outside its range, settings that the sampler does not have, more steps than the diffusion has,
    or guidance by a branch that was never trained.
    """
    hints = typing.get_type_hints(SamplingOptions)
    check_keys(changes, set(hints), set(), "config.sampling")
    # NumPy's numbers become Python's.
    changes = {k: v.item() if isinstance(v, np.generic) else v for k, v in changes.items()}
    for name, value in changes.items():
        check_value(value, hints[name], f"config.sampling.{name}")
    if changes.get("sampler", options.sampler) != options.sampler:
        changes.setdefault("spacing", SPACINGS[changes["sampler"]][0])
    options = dataclasses.replace(options, **changes)
    _check_ranges(options)
    for solver, process in zip((options.decoder_solver, options.solver), processes, strict=True):
        solver.check(process)
    used = {**options.decoder_guidance.weights, **options.condition_guidance.weights}
    for branch, (scale, off, dropped) in _BRANCHES.items():
        if branch in used and shares is not None and shares[branch] == 0:
            raise UserError(
                f"config.sampling.{scale} is {getattr(options, scale)}, but must be {off} for a "
                f"model that was not trained on clips without {dropped}"
            )
    return options


def _check_ranges(options: SamplingOptions) -> None:
    for name, least in (("chunk_frames", 1), ("eta", 0)):
        if getattr(options, name) < least:
            raise UserError(f"config.sampling.{name} must be {least} or more")
    if options.fps <= 0:
        raise UserError(f"config.sampling.fps is {options.fps}, but must be above 0")
    for name in ("decoder_interval", "condition_interval"):
        interval = getattr(options, name)
        if not 0 <= interval.low <= interval.high <= 1:
            raise UserError(
                f"config.sampling.{name} is [{interval.low}, {interval.high}], but must lie in "
                "[0, 1], low before high"
            )
    if not 0 <= options.shared_noise <= 1:
        raise UserError(
            f"config.sampling.shared_noise is {options.shared_noise}, but must lie in [0, 1]"
        )
