"""Adversarial training: schedule and options of a discriminator, both players' gradients."""

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from glober_jax.models.networks import Params
from glober_jax.training.state import (
    Batch,
    OptimizerOptions,
    StepFunction,
    TrainState,
    by_network,
)


@dataclasses.dataclass(frozen=True)
class AdversarialOptions:
    """The adversary joins at `start_step`; its weight then grows linearly over `warmup_steps`.

    Before, or with `weight` 0 always, no discriminator is run, and it rests.
    """

    weight: float = 0.1
    start_step: int = 0
    warmup_steps: int = 0
    optimizer: OptimizerOptions = dataclasses.field(default_factory=OptimizerOptions)

    def weight_at(self, step: jax.Array) -> jax.Array:
        """w(step), a traced float32."""
        progress = (step - self.start_step + 1) / max(self.warmup_steps, 1)
        return self.weight * jnp.clip(progress, 0.0, 1.0)

    def optimizers(
        self, others: tuple[str, ...], discriminator: str, optimizer: OptimizerOptions, steps: int
    ) -> optax.GradientTransformation:
        """`optimizer` for the networks `others` together, its own for the discriminator."""
        # By the state's step, not by the count of updates: the programs go by it, too.
        resting = optax.conditionally_mask(
            self.optimizer.build(steps - self.start_step),
            lambda count, *, step: (step >= self.start_step) & (self.weight > 0),
            forward_extra_args=True,
        )
        groups = dict.fromkeys(others, "others") | {discriminator: "discriminator"}
        return by_network({"others": optimizer.build(steps), "discriminator": resting}, groups)


class AdversarialStage:
    """A stage with a discriminator.

    Subclasses have `options`, with an optimizer for the networks `averaged`, and `gradients`.
    """

    averaged: ClassVar[tuple[str, ...]]
    discriminator: ClassVar[str]

    def programs(self) -> tuple[tuple[int, StepFunction], ...]:
        """The step without the adversary, and from its start on with it.

        Two programs and not one with a conditional, which would hold the memory of both branches
        (and whose convolutions XLA's CPU backend runs ten times slower).
        """
        adversary = self.options.adversarial
        alone = (0, functools.partial(self.step, adversarial=False))
        joint = (adversary.start_step, functools.partial(self.step, adversarial=True))
        if adversary.weight == 0:
            return (alone,)
        return (joint,) if adversary.start_step == 0 else (alone, joint)

    def step(
        self, state: TrainState, frozen: Any, batch: Batch, *, adversarial: bool
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """One update of both players."""
        gradients, metrics = self.gradients(state, frozen, batch, adversarial=adversarial)
        return state.apply_if_finite(gradients, metrics, self.optimizer, self.options.ema_decay)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        options = self.options
        return options.adversarial.optimizers(
            self.averaged, self.discriminator, options.optimizer, options.steps
        )


def joint_gradients(
    loss_fn: Any, params: Params, discriminator: str
) -> tuple[Params, dict[str, jax.Array]]:
    """Both players' gradients from one forward pass of loss_fn -> ((d_loss, g_loss), metrics).

    The pull-back of (1, 0) gives that of `discriminator`, that of (0, 1) all others; the rest is
    dead code to XLA.
    """
    (d_loss, g_loss), pullback, metrics = jax.vjp(loss_fn, params, has_aux=True)
    one, zero = jnp.ones_like(d_loss), jnp.zeros_like(g_loss)
    (of_discriminator,) = pullback((one, zero))
    (of_others,) = pullback((zero, one))
    return of_others | {discriminator: of_discriminator[discriminator]}, metrics
