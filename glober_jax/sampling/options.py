"""How frames and global features are sampled: `config.sampling`."""

import dataclasses

from glober_jax.diffusion.guidance import ConditionGuidance, DecoderGuidance
from glober_jax.diffusion.predictor import EVERYWHERE, Interval
from glober_jax.diffusion.samplers import Sampler, Solver
from glober_jax.diffusion.timesteps import Spacing


@dataclasses.dataclass(frozen=True)
class SamplingOptions:
    """Used by the frame decoder and the global generator alike.

    `sampler` makes x_0 in `steps` network calls (and as many per branch of the guidance):

    - "ddim", first order, with `spacing` "trailing" or "leading" (as published). `eta` 0 is
      deterministic from the first noise, 1 adds as much as DDPM does.
    - "dpm++", DPM-Solver++(2M), second order and deterministic, with `spacing` "log_snr" or
      "karras": on the quick start closer to the converged result in 8 to 15 steps than DDIM in 50,
      the decoder mostly because these spacings end at step 0.

    `threshold` is the percentile, as a fraction, of dynamic thresholding; 0 is off. Scales are
    those of guidance, each of which counts inside its interval of noise levels only:
    `decoder_interval` for `video_scale` and `domain_scale`, `condition_interval` for
    `condition_scale`.
    `shared_noise` is how much of a frame's initial noise, in variance, is common to all frames of
    the video: 0 as published, 1 keeps texture still between frames. `chunk_frames` bounds memory:
    at most that many frames, in all branches, are denoised at once. `fps` is written into the
    videos.
    """

    sampler: Sampler = "ddim"
    steps: int = 50
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
    def decoder_guidance(self) -> DecoderGuidance:
        return DecoderGuidance(self.video_scale, self.domain_scale, self.decoder_interval)

    @property
    def condition_guidance(self) -> ConditionGuidance:
        return ConditionGuidance(self.condition_scale, self.condition_interval)
