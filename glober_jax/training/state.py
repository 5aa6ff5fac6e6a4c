"""The state every stage trains: parameters, their average, optimizer, step; and its update.

`params`, `ema` and gradients are dicts keyed by network name. The state is one pytree of arrays;
the optimizer that goes with it is a pure value built from the stage's options.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import flax.struct
import jax
import jax.numpy as jnp
import optax

from glober_jax.models.networks import Params

# Metric: 1 where a step's update was skipped.
SKIPPED = "skipped"
_GRADIENT = "grad_norm_"


@dataclasses.dataclass(frozen=True)
class OptimizerOptions:
    """AdamW with linear warm-up, then a constant rate or a cosine to zero; gradient clipping.

    Weight decay is for kernels alone. `clip_norm` bounds the global norm of one group's gradient;
    0 switches clipping off.
    """

    learning_rate: float = 1e-4
    warmup_steps: int = 0
    decay: Literal["constant", "cosine"] = "constant"
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.01
    clip_norm: float = 1.0

    def schedule(self, total_steps: int) -> optax.Schedule:
        """Learning rate by step: (step + 1) / warmup_steps of it at first, all of it after."""

        def rate(step: jax.Array) -> jax.Array:
            warmed_up = jnp.minimum((step + 1) / max(self.warmup_steps, 1), 1.0)
            if self.decay == "constant":
                return self.learning_rate * warmed_up
            decaying = max(total_steps - self.warmup_steps, 1)
            progress = jnp.clip((step - self.warmup_steps) / decaying, 0.0, 1.0)
            return self.learning_rate * warmed_up * 0.5 * (1.0 + jnp.cos(jnp.pi * progress))

        return rate

    def build(self, total_steps: int) -> optax.GradientTransformation:
        adamw = optax.adamw(
            self.schedule(total_steps),
            self.beta1,
            self.beta2,
            weight_decay=self.weight_decay,
            mask=_kernels,
        )
        if self.clip_norm == 0:
            return adamw
        return optax.chain(optax.clip_by_global_norm(self.clip_norm), adamw)


def _kernels(params: Params) -> Any:
    """True for the leaves that weight decay is for."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: path[-1].key == "kernel" and leaf.ndim >= 2, params
    )


def by_network(
    optimizers: Mapping[str, optax.GradientTransformation], group_of: Mapping[str, str]
) -> optax.GradientTransformation:
    """One transformation that gives each network its group's optimizer and gradient norm."""

    def labels(params: Params) -> dict[str, Any]:
        return {
            name: jax.tree.map(lambda _, group=group_of[name]: group, tree)
            for name, tree in params.items()
        }

    return optax.partition(dict(optimizers), labels)


class TrainState(flax.struct.PyTreeNode):
    """Everything that changes from step to step; donated to the step that replaces it.

    `ema` averages a subset of the networks: those that are sampled from. `constants` are arrays
    measured when the stage began (channel scales) and kept with it.
    """

    step: jax.Array
    params: Params
    ema: Params
    opt_state: Any
    constants: dict[str, Any]

    def apply_gradients(
        self,
        gradients: Params,
        optimizer: optax.GradientTransformation,
        ema_decay: float,
        finite: jax.Array | bool = True,
    ) -> "TrainState":
        """One update where `finite`; elsewhere none, only `step` advances.

        EMA decay warms up as min(decay, (1 + step) / (10 + step)). `step` counts skipped updates.
        """
        optimizer = optax.with_extra_args_support(optimizer)
        updates, opt_state = optimizer.update(
            gradients, self.opt_state, self.params, step=self.step
        )
        # Selected as they are written, in the donated state's own memory.
        opt_state = optax.tree.where(finite, opt_state, self.opt_state)
        params = optax.tree.where(finite, optax.apply_updates(self.params, updates), self.params)
        step = self.step.astype(jnp.float32)
        decay = jnp.minimum(ema_decay, (1.0 + step) / (10.0 + step))
        ema = optax.incremental_update(
            {name: params[name] for name in self.ema},
            self.ema,
            jnp.where(finite, 1.0 - decay, 0.0),
        )
        return self.replace(step=self.step + 1, params=params, ema=ema, opt_state=opt_state)

    def apply_if_finite(
        self,
        gradients: Params,
        metrics: dict[str, jax.Array],
        optimizer: optax.GradientTransformation,
        ema_decay: float,
    ) -> tuple["TrainState", dict[str, jax.Array]]:
        """One update, or none where a loss or a gradient is not finite; see `is_guarded`.

        The metrics returned have each network's gradient norm and `skipped`, 1 without update.
        """
        metrics = metrics | gradient_norms(gradients)
        guarded = [value for name, value in metrics.items() if is_guarded(name)]
        finite = jnp.isfinite(jnp.stack(guarded)).all()
        state = self.apply_gradients(gradients, optimizer, ema_decay, finite)
        return state, metrics | {SKIPPED: jnp.logical_not(finite).astype(jnp.int32)}


Batch = dict[str, jax.Array]
StepFunction = Callable[[TrainState, Any, Batch], tuple[TrainState, dict[str, jax.Array]]]


def new_state(
    params: Params,
    optimizer: optax.GradientTransformation,
    averaged: tuple[str, ...],
    constants: dict[str, Any],
) -> TrainState:
    """The state at step 0, averaging the networks named in `averaged`."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        # A copy, because a state that is donated may not hold one buffer twice.
        ema={name: jax.tree.map(jnp.copy, params[name]) for name in averaged},
        opt_state=optimizer.init(params),
        constants=constants,
    )


def gradient_norms(gradients: Params) -> dict[str, jax.Array]:
    """Global norm of each network's gradient, by metric name; none for one without parameters."""
    return {f"{_GRADIENT}{name}": optax.tree.norm(tree) for name, tree in gradients.items() if tree}


def is_guarded(metric: str) -> bool:
    """Whether a step is skipped where this metric is not finite: a loss, or a gradient's norm."""
    return metric.endswith("loss") or metric.startswith(_GRADIENT)
