"""Adversarial training: options and schedule, both optimizers, both gradients."""

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from glober_jax.models.networks import Params
from glober_jax.training.state import (
    OptimizerOptions,
    StageFunctions,
    StepFunction,
    by_network,
)


@dataclasses.dataclass(frozen=True)
class AdversarialOptions:
    """The adversary's weight grows linearly over `warmup_steps` from `start_step` on.

    Before that, and with `weight` 0, the discriminator is neither run nor trained.
    """

    weight: float = 0.1
    start_step: int = 0
    warmup_steps: int = 0
    optimizer: OptimizerOptions = dataclasses.field(default_factory=OptimizerOptions)

    def weight_at(self, step: jax.Array) -> jax.Array:
        """w(step), a traced float32."""
        progress = (step - self.start_step + 1) / max(self.warmup_steps, 1)
        return self.weight * jnp.clip(progress, 0.0, 1.0)


class AdversarialStage(StageFunctions):
    """A stage with a discriminator; its `options` have the optimizer of all other networks."""

    discriminator: ClassVar[str]

    def programs(self) -> tuple[tuple[int, StepFunction], ...]:
        """The step without the adversary, and from its start on with it.

        Two programs, because one with a conditional needs the memory of both branches (and XLA's
        CPU backend runs convolutions in conditionals ten times slower).
        """
        adversary = self.options.adversarial
        alone = (0, functools.partial(self.step, adversarial=False))
        joint = (adversary.start_step, functools.partial(self.step, adversarial=True))
        if adversary.weight == 0:
            return (alone,)
        return (joint,) if adversary.start_step == 0 else (alone, joint)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """One for the discriminator, which rests until its start, and one for all others."""
        options, adversary = self.options, self.options.adversarial
        # By the state's step, as the programs, and not by the count of updates.
        resting = optax.conditionally_mask(
            adversary.optimizer.build(options.steps - adversary.start_step),
            lambda count, *, step: (step >= adversary.start_step) & (adversary.weight > 0),
            forward_extra_args=True,
        )
        groups = dict.fromkeys(self.averaged, "others") | {self.discriminator: "discriminator"}
        others = options.optimizer.build(options.steps)
        return by_network({"others": others, "discriminator": resting}, groups)


def joint_gradients(
    loss_fn: Any, params: Params, discriminator: str
) -> tuple[Params, dict[str, jax.Array]]:
    """Both gradients, and the metrics, of one pass of loss_fn -> ((d_loss, g_loss), metrics).

    The pull-back of (1, 0) gives the discriminator's, that of (0, 1) all others; XLA removes the
    rest as dead code.
    """
    (d_loss, g_loss), pullback, metrics = jax.vjp(loss_fn, params, has_aux=True)
    one, zero = jnp.ones_like(d_loss), jnp.zeros_like(g_loss)
    (of_discriminator,) = pullback((one, zero))
    (of_others,) = pullback((zero, one))
    return of_others | {discriminator: of_discriminator[discriminator]}, metrics
