"""Stage 0: the frame codec, trained from scratch where no pretrained one is given.

loss = mean |x - x̂| + kl_weight * mean KL per clip frame. Dimension key: B clips, n frames of
each, X, Y frame size.
"""

import dataclasses
from typing import Any

import einops
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from glober_jax.models.frame_codec import normalise_frames
from glober_jax.models.networks import Networks, Params
from glober_jax.parallel.mesh import gather_parameters
from glober_jax.randomness import named_key
from glober_jax.training.loop import Batch
from glober_jax.training.state import OptimizerOptions, TrainState, gradient_norms, new_state

NAME = "codec"
NETWORKS = ("frame_codec",)


@dataclasses.dataclass(frozen=True)
class CodecTraining:
    """Options of the codec stage; a step sees batch_size clips, `frames_per_clip` of each."""

    steps: int
    batch_size: int
    frames_per_clip: int = 2
    kl_weight: float = 1e-6
    ema_decay: float = 0.999
    optimizer: OptimizerOptions = dataclasses.field(default_factory=OptimizerOptions)


@dataclasses.dataclass(frozen=True)
class CodecStage:
    """The stage as pure functions of state and batch."""

    networks: Networks
    options: CodecTraining
    seed: int
    mesh: Mesh

    def create(self, constants: dict[str, Any]) -> TrainState:
        params = self.networks.init_all(NETWORKS, named_key(self.seed, "codec_init"))
        return new_state(params, self._optimizer(), NETWORKS, constants)

    def adopt(self, params: Params) -> TrainState:
        """The state at the last step, of parameters {"frame_codec"} that were trained elsewhere."""
        state = new_state(params, self._optimizer(), NETWORKS, {})
        return state.replace(step=jnp.asarray(self.options.steps, jnp.int32))

    def step(
        self, state: TrainState, frozen: None, batch: Batch
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """One update on `target_frames` uint8 [B, n, X, Y, 3]."""
        del frozen
        frames = einops.rearrange(batch["target_frames"], "b n x y c -> (b n) x y c")
        key = named_key(self.seed, NAME, state.step)

        def loss_fn(params: Params) -> tuple[jax.Array, dict[str, jax.Array]]:
            params = gather_parameters(params, self.mesh)
            return codec_loss(self.networks, params, frames, key, self.options.kl_weight)

        gradients, metrics = jax.grad(loss_fn, has_aux=True)(state.params)
        state = state.apply_gradients(gradients, self._optimizer(), self.options.ema_decay)
        return state, metrics | gradient_norms(gradients)

    def _optimizer(self) -> Any:
        return self.options.optimizer.build(self.options.steps)


def codec_loss(
    networks: Networks, params: Params, frames_NXYC: jax.Array, key: jax.Array, kl_weight: float
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """L1 + KL of uint8 frames: (scalar loss, metrics)."""
    pixels = normalise_frames(frames_NXYC)
    reconstruction, posterior = networks.apply(params, "frame_codec", pixels, key)
    l1 = jnp.abs(reconstruction - pixels).mean()
    kl = posterior.kl().mean()
    loss = l1 + kl_weight * kl
    # Pixels span 2, so the peak of the signal is 2.
    psnr = 10.0 * jnp.log10(4.0 / jnp.square(reconstruction - pixels).mean())
    return loss, {"loss": loss, "l1_loss": l1, "kl": kl, "psnr": psnr}
