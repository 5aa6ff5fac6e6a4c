"""Stage B: the global generator, diffusion over the frozen encoder's global features.

g is the posterior mean of the averaged (EMA) encoder, normalised per channel by a scale measured
when the stage begins; loss = weighted mean |prediction - target|². Dimension key: B clips,
H, W, G global feature.
"""

import dataclasses
from typing import Any

import jax
from jax.sharding import Mesh

from glober_jax.diffusion.process import DiffusionProcess
from glober_jax.models.networks import Networks, Params
from glober_jax.parallel.rules import gather_parameters
from glober_jax.randomness import named_key
from glober_jax.sampling.decode import FrameModel
from glober_jax.training.autoencoder import codec_posterior
from glober_jax.training.loop import Batch
from glober_jax.training.state import OptimizerOptions, TrainState, gradient_norms, new_state

NAME = "generator"
NETWORKS = ("condition", "generator")


@dataclasses.dataclass(frozen=True)
class GeneratorTraining:
    """Options of the stage; `condition_dropout` is how often a clip's condition is dropped."""

    steps: int
    batch_size: int
    condition_dropout: float = 0.1
    ema_decay: float = 0.9999
    optimizer: OptimizerOptions = dataclasses.field(default_factory=OptimizerOptions)


@dataclasses.dataclass(frozen=True)
class GeneratorStage:
    """The stage as pure functions of state, frozen encoder and batch."""

    networks: Networks
    process: DiffusionProcess
    options: GeneratorTraining
    seed: int
    mesh: Mesh

    def create(self, constants: dict[str, Any], given: Params | None = None) -> TrainState:
        """The state at step 0, of parameters that are `given` and fresh ones of other networks.

        `constants` = {"feature_scale": ChannelScale of the global features}.
        """
        params = self.networks.init_all(NETWORKS, named_key(self.seed, "generator_init"), given)
        return new_state(params, self._optimizer(), NETWORKS, constants)

    def step(
        self, state: TrainState, frozen: FrameModel, batch: Batch
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """One update on `key_frames` and what they are conditioned on: `label` or `text`."""
        key = named_key(self.seed, NAME, state.step)
        frozen = gather_parameters(frozen, self.mesh)
        features = clip_features(self.networks, frozen, batch["key_frames"])
        features = state.constants["feature_scale"].normalise(features)
        condition = batch[self.networks.condition.field]

        def loss_fn(params: Params) -> jax.Array:
            params = gather_parameters(params, self.mesh)
            return generator_loss(
                self.networks, self.process, self.options, params, features, condition, key
            )

        loss, gradients = jax.value_and_grad(loss_fn)(state.params)
        state = state.apply_gradients(gradients, self._optimizer(), self.options.ema_decay)
        return state, {"loss": loss} | gradient_norms(gradients)

    def _optimizer(self) -> Any:
        return self.options.optimizer.build(self.options.steps)


def clip_features(networks: Networks, model: FrameModel, key_frames: jax.Array) -> jax.Array:
    """Mean global features [B, H, W, G] of key frames or of their cached moments."""
    posterior = codec_posterior(networks, model.params, key_frames)
    latents = model.latent_scale.normalise(posterior.mean)
    return networks.apply(model.params, "video_encoder", latents).mean


def generator_loss(
    networks: Networks,
    process: DiffusionProcess,
    options: GeneratorTraining,
    params: Params,
    features_BHWG: jax.Array,
    condition: jax.Array,
    key: jax.Array,
) -> jax.Array:
    """Mean diffusion loss of unit-variance global features, a scalar."""
    key_t, key_eps, key_drop = jax.random.split(key, 3)
    batch = features_BHWG.shape[:1]
    t_B = jax.random.randint(key_t, batch, 0, process.num_timesteps)
    eps = jax.random.normal(key_eps, features_BHWG.shape)
    with_condition_B = jax.random.bernoulli(key_drop, 1.0 - options.condition_dropout, batch)
    context_BLE = networks.apply(params, "condition", condition, with_condition_B)
    noisy = process.add_noise(features_BHWG, eps, t_B)
    prediction = networks.apply(params, "generator", noisy, t_B, context_BLE)
    return process.loss(prediction, features_BHWG, eps, t_B).mean()
