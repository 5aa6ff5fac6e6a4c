"""Spacings: at which noise levels a sampler calls the network.

DDIM visits whole training steps, DPM-Solver++ values of λ (`process.half_log_snr`), most of which
lie between two steps. Dimension key: S sampling steps.
"""

from typing import Literal

import numpy as np

from glober_jax.diffusion.process import DiffusionProcess
from glober_jax.errors import UserError

StepSpacing = Literal["trailing", "leading"]
LevelSpacing = Literal["log_snr", "karras"]
Spacing = Literal["trailing", "leading", "log_snr", "karras"]

# Karras et al. 2022 (arXiv 2206.00364), below equation 5.
_KARRAS_RHO = 7.0


def sampling_timesteps(num_timesteps: int, steps: int, spacing: StepSpacing) -> np.ndarray:
    """The training steps that are visited, ascending int32 [S].

    "trailing" ends at the noisiest step T - 1, so sampling starts from what pure noise stands for
    (arXiv 2305.08891); "leading" is the published rule 1, 1 + c, 1 + 2c, ... below T with
    c = T // steps, which starts a little lower and visits a few more steps than asked for where
    `steps` does not divide T. Raises `UserError` for a step count that the schedule cannot serve.
    """
    _check_count(num_timesteps, steps)
    if spacing == "trailing":
        return (np.round(np.arange(1, steps + 1) * num_timesteps / steps) - 1).astype(np.int32)
    timesteps = 1 + np.arange(0, num_timesteps, num_timesteps // steps, dtype=np.int32)
    if timesteps[-1] >= num_timesteps:
        raise UserError(f"leading spacing has no room for {steps} of {num_timesteps} steps")
    return timesteps


def sampling_levels(process: DiffusionProcess, steps: int, spacing: LevelSpacing) -> np.ndarray:
    """The λ that are visited, ascending float64 [S], from that of step T - 1 to that of step 0.

    "log_snr" spaces λ evenly; "karras" spaces the 7th root of the noise-to-signal ratio, e^(-λ/7),
    evenly (arXiv 2206.00364, equation 5). A single step starts from pure noise. Raises `UserError`
    for a step count that the schedule cannot serve.
    """
    _check_count(process.num_timesteps, steps)
    noisiest, cleanest = process.half_log_snr[[-1, 0]]
    if spacing == "log_snr":
        return np.linspace(noisiest, cleanest, steps)
    ends = np.exp(-np.array([noisiest, cleanest]) / _KARRAS_RHO)
    return -_KARRAS_RHO * np.log(np.linspace(*ends, steps))


def _check_count(num_timesteps: int, steps: int) -> None:
    if not 1 <= steps <= num_timesteps:
        raise UserError(f"sampling steps must lie in 1..{num_timesteps}, got {steps}")
