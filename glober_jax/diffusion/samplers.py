"""Samplers by name: from noise to x_0 in a given number of network calls."""

import dataclasses
from collections.abc import Callable
from typing import Literal

import jax
import numpy as np

from glober_jax.diffusion.ddim import ddim, sampling_timesteps
from glober_jax.diffusion.dpm_solver import dpm_solver, sampling_levels
from glober_jax.diffusion.predictor import Predictor, thresholded
from glober_jax.diffusion.process import DiffusionProcess
from glober_jax.errors import UserError

Sampler = Literal["ddim", "dpm++"]
Spacing = Literal["trailing", "leading", "log_snr", "karras"]

# The spacings of each sampler, its usual one first.
SPACINGS: dict[Sampler, tuple[Spacing, ...]] = {
    "ddim": ("trailing", "leading"),
    "dpm++": ("log_snr", "karras"),
}


@dataclasses.dataclass(frozen=True)
class Solver:
    """A sampler and its settings; `config.sampling` explains them."""

    sampler: Sampler = "ddim"
    steps: int = 50
    spacing: Spacing = "trailing"
    eta: float = 0.0
    threshold: float = 0.0

    def check(self, process: DiffusionProcess) -> None:
        """Raises `UserError` where the settings do not fit each other or the process."""
        fitting = SPACINGS[self.sampler]
        if self.spacing not in fitting:
            raise UserError(
                f"config.sampling.spacing is {self.spacing!r}, but the sampler {self.sampler} "
                f"takes {' or '.join(fitting)}"
            )
        if self.eta and self.sampler != "ddim":
            raise UserError(
                f"config.sampling.eta is {self.eta}, but the sampler {self.sampler} adds no noise "
                "on the way: set eta to 0 or take the sampler ddim"
            )
        if not 0 <= self.threshold < 1:
            raise UserError(
                f"config.sampling.threshold is {self.threshold}, but must be 0 (off) or a fraction "
                "below 1, such as 0.995"
            )
        self.timesteps(process)

    def timesteps(self, process: DiffusionProcess) -> np.ndarray:
        """The t of every network call, whole or real, ascending.

        Raises:
          UserError: a step count that the process cannot serve.
        """
        if self.sampler == "ddim":
            return sampling_timesteps(process.num_timesteps, self.steps, self.spacing)
        levels = sampling_levels(process, self.steps, self.spacing)
        return process.timesteps_of(levels)[::-1]


def sample(
    process: DiffusionProcess,
    solver: Solver,
    predictor: Predictor,
    x_T: jax.Array,
    draw_noise: Callable[[jax.Array], jax.Array] | None = None,
) -> jax.Array:
    """x_0, float32, from x_T; rows are independent. `draw_noise(t)` is called where η > 0."""
    if solver.threshold:
        predictor = predictor._replace(
            guided=thresholded(process, predictor.guided, solver.threshold),
            plain=thresholded(process, predictor.plain, solver.threshold),
        )
    steps, spacing = solver.steps, solver.spacing
    if solver.sampler == "dpm++":
        return dpm_solver(process, predictor, x_T, steps, spacing)
    return ddim(process, predictor, x_T, steps, spacing, solver.eta, draw_noise)
