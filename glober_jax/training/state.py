"""The state of every stage, its optimizer and its update.

`params`, `ema` and gradients are dicts keyed by network name.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from glober_jax.models.networks import Networks, Params
from glober_jax.randomness import named_key

# Metric: 1 where a step's update was skipped.
SKIPPED = "skipped"
_GRADIENT = "grad_norm_"
# Root mean square of Adam's updates per learning rate (arXiv 2502.16982, section 2.2).
_ADAM_RMS = 0.2


@dataclasses.dataclass(frozen=True)
class OptimizerOptions:
    """An optimizer with linear warm-up, then a constant rate or a cosine to zero.

    Only kernels decay. `clip_norm` bounds the global norm of a group's gradient; 0: no clipping.
    The method "muon" orthogonalises the updates of the kernels of residual and transformer blocks
    (Jordan et al. 2024) and scales them to the size of AdamW's, for the same learning rates
    (arXiv 2502.16982); only these kernels decay, and all other parameters are updated by Adam with
    Nesterov momentum.
    """

    method: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-4
    warmup_steps: int = 0
    decay: Literal["constant", "cosine"] = "constant"
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.01
    clip_norm: float = 1.0

    def schedule(self, total_steps: int) -> optax.Schedule:
        """Learning rate by step: multiplied by (step + 1) / warmup_steps during warm-up."""

        def rate(step: jax.Array) -> jax.Array:
            warmed_up = jnp.minimum((step + 1) / max(self.warmup_steps, 1), 1.0)
            if self.decay == "constant":
                return self.learning_rate * warmed_up
            decaying = max(total_steps - self.warmup_steps, 1)
            progress = jnp.clip((step - self.warmup_steps) / decaying, 0.0, 1.0)
            return self.learning_rate * warmed_up * 0.5 * (1.0 + jnp.cos(jnp.pi * progress))

        return rate

    def build(self, total_steps: int) -> optax.GradientTransformation:
        """The transformation of a group of networks."""

        def kernels(params: Params) -> Any:
            return jax.tree_util.tree_map_with_path(
                lambda path, leaf: path[-1].key == "kernel" and leaf.ndim >= 2, params
            )

        rate, decay = self.schedule(total_steps), self.weight_decay
        if self.method == "muon":
            optimizer = optax.contrib.muon(
                rate,
                weight_decay=decay,
                adam_b1=self.beta1,
                adam_b2=self.beta2,
                muon_weight_dimension_numbers=_block_kernels,
                consistent_rms=_ADAM_RMS,
            )
        else:
            optimizer = optax.adamw(rate, self.beta1, self.beta2, weight_decay=decay, mask=kernels)
        if self.clip_norm == 0:
            return optimizer
        return optax.chain(optax.clip_by_global_norm(self.clip_norm), optimizer)


def _block_kernels(params: Params) -> Any:
    """For each kernel inside a block the axes of its matrix, inputs and outputs; else None.

    Projections of the embedded timestep are not hidden layers, and left out.
    """

    def matrix(path: tuple[Any, ...], leaf: jax.Array) -> optax.contrib.MuonDimensionNumbers | None:
        names = [key.key for key in path]
        is_hidden = any("block" in name for name in names)
        if names[-1] != "kernel" or not is_hidden or {"modulation", "embedding"} & set(names):
            return None
        inputs = tuple(range(leaf.ndim - 1))
        return optax.contrib.MuonDimensionNumbers(inputs, (leaf.ndim - 1,))

    return jax.tree_util.tree_map_with_path(matrix, params)


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

    `ema` averages the networks that are sampled from. `constants` are arrays measured when the
    stage began (channel scales).
    """

    step: jax.Array
    params: Params
    ema: Params
    opt_state: Any
    constants: dict[str, Any]

    def apply_if_finite(
        self,
        gradients: Params,
        metrics: dict[str, jax.Array],
        optimizer: optax.GradientTransformation,
        ema_decay: float,
    ) -> tuple["TrainState", dict[str, jax.Array]]:
        """One update; none if a loss or a gradient is not finite (`is_guarded`).

        `step` counts skipped updates too. The decay of the average warms up as
        min(ema_decay, (1 + step) / (10 + step)). The metrics returned have each network's gradient
        norm and `skipped`, 1 without update.
        """
        metrics = metrics | gradient_norms(gradients)
        guarded = [value for name, value in metrics.items() if is_guarded(name)]
        finite = jnp.isfinite(jnp.stack(guarded)).all()
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
        state = self.replace(step=self.step + 1, params=params, ema=ema, opt_state=opt_state)
        return state, metrics | {SKIPPED: jnp.logical_not(finite).astype(jnp.int32)}


Batch = dict[str, jax.Array]
StepFunction = Callable[[TrainState, Any, Batch], tuple[TrainState, dict[str, jax.Array]]]


def new_state(
    params: Params,
    optimizer: optax.GradientTransformation,
    averaged: tuple[str, ...],
    constants: dict[str, Any],
) -> TrainState:
    """The state at step 0, with averages of the networks `averaged`."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        # A copy, because a state that is donated may not hold one buffer twice.
        ema={name: jax.tree.map(jnp.copy, params[name]) for name in averaged},
        opt_state=optimizer.init(params),
        constants=constants,
    )


@dataclasses.dataclass(frozen=True)
class StageFunctions:
    """A stage as pure functions of its state, frozen parameters and a batch.

    Subclasses have `options` of their own, an `optimizer`, and `gradients(state, frozen, batch)`
    that returns gradients and metrics.
    """

    name: ClassVar[str]
    trained: ClassVar[tuple[str, ...]]
    averaged: ClassVar[tuple[str, ...]]

    networks: Networks
    options: Any
    seed: int
    mesh: Mesh

    def create(self, constants: dict[str, Any], given: Params | None = None) -> TrainState:
        """The state at step 0: `given` networks, fresh others, and measured `constants`."""
        key = named_key(self.seed, f"{self.name}_init")
        params = self.networks.init_all(self.trained, key, given)
        return new_state(params, self.optimizer, self.averaged, constants)

    def step(
        self, state: TrainState, frozen: Any, batch: Batch, **options: bool
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """One update on a batch; `options` are those of `gradients`."""
        gradients, metrics = self.gradients(state, frozen, batch, **options)
        return state.apply_if_finite(gradients, metrics, self.optimizer, self.options.ema_decay)


def gradient_norms(gradients: Params) -> dict[str, jax.Array]:
    """Global norm of each network's gradient, by metric name; none for one without parameters."""
    return {f"{_GRADIENT}{name}": optax.tree.norm(tree) for name, tree in gradients.items() if tree}


def is_guarded(metric: str) -> bool:
    """Whether a step is skipped where this metric is not finite: a loss, or a gradient's norm."""
    return metric.endswith("loss") or metric.startswith(_GRADIENT)
