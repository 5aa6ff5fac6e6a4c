"""Stage B: the global generator, diffusion over the frozen encoder's global features.

g is the posterior mean of the averaged encoder, normalised per channel by a scale measured when
the stage begins; loss = weighted mean |prediction - target|². Of N channel groups that are
generated in turn, a clip has one at step t: those before it nearly clean, those after it noise.
Dimension key: B clips, H, W, G global feature, N channel groups.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from glober_jax.diffusion.process import DiffusionProcess
from glober_jax.models.networks import Networks, Params
from glober_jax.parallel.rules import gather_parameters
from glober_jax.randomness import named_key
from glober_jax.sampling.decode import FrameModel, encode_clip
from glober_jax.training.gradient_accumulation import accumulate_gradients
from glober_jax.training.state import (
    Batch,
    OptimizerOptions,
    StageFunctions,
    StepFunction,
    TrainState,
)

NAME = "generator"
NETWORKS = ("condition", "generator")
# Channels that others are given have noise of up to this fraction of the steps.
_MOST_GIVEN_NOISE = 0.06


@dataclasses.dataclass(frozen=True)
class GeneratorTraining:
    """Options of the stage.

    A fraction `condition_dropout` of clips lose their condition, unless there is none anyway.
    `micro_batches` as in `AutoencoderTraining`.
    """

    steps: int
    batch_size: int
    micro_batches: int = 1
    condition_dropout: float = 0.1
    ema_decay: float = 0.9999
    optimizer: OptimizerOptions = dataclasses.field(default_factory=OptimizerOptions)


@dataclasses.dataclass(frozen=True)
class GeneratorStage(StageFunctions):
    """The stage as pure functions; the encoder is frozen, constants are {"feature_scale"}.

    A batch has `key_frames` and `label` or `text`. If `encoded`, its `key_frames` [B, 1, H, W, G]
    are global features already.
    """

    name = NAME
    trained = averaged = NETWORKS

    process: DiffusionProcess
    encoded: bool = False

    @property
    def optimizer(self) -> optax.GradientTransformation:
        return self.options.optimizer.build(self.options.steps)

    def programs(self) -> tuple[tuple[int, StepFunction], ...]:
        return ((0, self.step),)

    def gradients(
        self, state: TrainState, frozen: FrameModel, batch: Batch
    ) -> tuple[Params, dict[str, jax.Array]]:
        """The gradients of one batch, and its loss."""
        networks, process = self.networks, self.process
        key = named_key(self.seed, NAME, state.step)
        frozen = gather_parameters(frozen, self.mesh, self.networks.dtype)
        drawn = draw_noise(networks, process, self.options, len(batch["key_frames"]), key)
        rows = (batch["key_frames"], batch[networks.condition.field], drawn)

        def of_clips(rows: tuple[Any, ...]) -> tuple[Params, dict[str, jax.Array]]:
            key_frames, condition, drawn = rows
            features = self.features(frozen, key_frames)
            features = state.constants["feature_scale"].normalise(features)

            def loss_fn(params: Params) -> jax.Array:
                params = gather_parameters(params, self.mesh, self.networks.dtype)
                return generator_loss(networks, process, params, features, condition, drawn)

            loss, gradients = jax.value_and_grad(loss_fn)(state.params)
            return gradients, {"loss": loss}

        return accumulate_gradients(of_clips, rows, self.options.micro_batches, self.mesh)

    def features(self, model: FrameModel, key_frames: jax.Array) -> jax.Array:
        """Global features [B, H, W, G] of a batch's key frames, see `encoded`."""
        if self.encoded:
            return key_frames[:, 0]
        return encode_clip(self.networks, model, key_frames)


class GeneratorNoise(NamedTuple):
    """The random inputs of a training pass: t in 0..T - 1, eps standard normal."""

    t_BN: jax.Array
    eps_BHWG: jax.Array
    with_condition_B: jax.Array


def draw_noise(
    networks: Networks,
    process: DiffusionProcess,
    options: GeneratorTraining,
    batch_size: int,
    key: jax.Array,
) -> GeneratorNoise:
    """Draws everything random of a step."""
    key_t, key_eps, key_drop, key_given, key_group = jax.random.split(key, 5)
    unconditional = networks.condition.kind == "unconditional"
    dropout = 0.0 if unconditional else options.condition_dropout
    steps, groups = process.num_timesteps, len(networks.generator.groups)
    trained_B1 = jax.random.randint(key_t, (batch_size, 1), 0, steps)
    given_B1 = jax.random.randint(key_given, (batch_size, 1), 0, 1 + int(_MOST_GIVEN_NOISE * steps))
    # The group at step t, by clip: they take turns, from a drawn one on.
    group_B = (jnp.arange(batch_size) + jax.random.randint(key_group, (), 0, groups)) % groups
    order_BN = jnp.arange(groups) - group_B[:, None]
    return GeneratorNoise(
        t_BN=jnp.select([order_BN < 0, order_BN == 0], [given_B1, trained_B1], steps - 1),
        eps_BHWG=jax.random.normal(key_eps, (batch_size, *networks.global_shape)),
        with_condition_B=jax.random.bernoulli(key_drop, 1.0 - dropout, (batch_size,)),
    )


def generator_loss(
    networks: Networks,
    process: DiffusionProcess,
    params: Params,
    features_BHWG: jax.Array,
    condition: jax.Array,
    noise: GeneratorNoise,
) -> jax.Array:
    """Diffusion loss of unit-variance global features, the mean over groups; deterministic.

    All groups enter the loss, not only the one at step t: otherwise the prediction at T - 1, the
    first step of sampling a group, would hardly be trained.
    """
    groups = networks.generator.groups
    context_BLE = networks.apply(params, "condition", condition, noise.with_condition_B)

    def of_groups(array_BHWG: jax.Array) -> list[jax.Array]:
        return [array_BHWG[..., group] for group in groups]

    x0, eps, t = of_groups(features_BHWG), of_groups(noise.eps_BHWG), noise.t_BN.T
    noisy = jnp.concatenate(jax.tree.map(process.add_noise, x0, eps, list(t)), -1)
    prediction = networks.apply(params, "generator", noisy, noise.t_BN, context_BLE)
    losses_NB = jax.tree.map(process.loss, of_groups(prediction), x0, eps, list(t))
    return jnp.stack(losses_NB).mean()
