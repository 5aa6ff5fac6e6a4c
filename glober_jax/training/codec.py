"""Stage 0: the frame codec, trained from scratch where no pretrained one is given.

    g_loss = mean |x - x̂| + perceptual_weight LPIPS(x, x̂) + kl_weight KL / P - w(step) mean D(x̂)
    d_loss = ½ mean max(0, 1 - D(x)) + ½ mean max(0, 1 + D(x̂))

x̂ is decoded from a posterior sample, KL is summed over a frame's latents, P = X Y C, D is a patch
discriminator. As in latent diffusion (arXiv 2112.10752), except that the first three terms are
means, so that weights do not depend on the frame size, and that w is constant after its warm-up,
not rescaled by a ratio of gradients. On synthetic skies w = 0.02 lowered LPIPS at little cost in
PSNR, and 0.5 drowned the other terms. LPIPS weights are frozen and not in checkpoints.

Dimension key: B clips, n frames of each, N = B n, X, Y frame size, C colours, h, w, Z latents.
"""

import dataclasses

import einops
import jax
import jax.numpy as jnp

from glober_jax.errors import UserError
from glober_jax.losses import hinge
from glober_jax.models import lpips
from glober_jax.models.frame_codec import normalise_frames
from glober_jax.models.networks import Networks, Params
from glober_jax.parallel.rules import gather_parameters
from glober_jax.randomness import named_key
from glober_jax.training.adversarial import AdversarialOptions, AdversarialStage, joint_gradients
from glober_jax.training.gradient_accumulation import accumulate_gradients
from glober_jax.training.state import Batch, OptimizerOptions, TrainState

NAME = "codec"
DISCRIMINATOR = "patch_discriminator"
# What other stages need of this one.
AVERAGED = ("frame_codec",)
NETWORKS = (*AVERAGED, DISCRIMINATOR)
PERCEPTUAL_BACKBONE: lpips.Backbone = "vgg"


@dataclasses.dataclass(frozen=True)
class CodecTraining:
    """Options of the codec stage; a step sees `frames_per_clip` frames of `batch_size` clips.

    With `pretrained` nothing is trained: the codec is that one (`load_pretrained_codec`).
    """

    steps: int
    batch_size: int
    pretrained: str = ""
    micro_batches: int = 1
    frames_per_clip: int = 2
    kl_weight: float = 1e-6
    perceptual_weight: float = 0.0
    ema_decay: float = 0.999
    optimizer: OptimizerOptions = dataclasses.field(default_factory=OptimizerOptions)
    adversarial: AdversarialOptions = dataclasses.field(
        default_factory=lambda: AdversarialOptions(weight=0.0)
    )

    @property
    def total_steps(self) -> int:
        """Steps that are trained: none where the codec is a pretrained one."""
        return 0 if self.pretrained else self.steps


@dataclasses.dataclass(frozen=True)
class CodecStage(AdversarialStage):
    """The stage as pure functions; LPIPS weights are frozen, there are no constants."""

    name = NAME
    trained = NETWORKS
    averaged = AVERAGED
    discriminator = DISCRIMINATOR

    def frozen(self) -> lpips.Params | None:
        """LPIPS weights, None if the loss has no LPIPS; `UserError` if they are not installed."""
        if self.options.perceptual_weight == 0 or self.options.total_steps == 0:
            return None
        try:
            return lpips.load(PERCEPTUAL_BACKBONE)
        except UserError as error:
            raise UserError(
                f"{error}, or set config.codec.perceptual_weight=0 to train without LPIPS"
            ) from error

    def gradients(
        self, state: TrainState, frozen: lpips.Params | None, batch: Batch, *, adversarial: bool
    ) -> tuple[Params, dict[str, jax.Array]]:
        """Both players' gradients of one batch, and its metrics: means over micro-batches."""
        frozen = gather_parameters(frozen, self.mesh, jnp.float32)
        weight = self.options.adversarial.weight_at(state.step) if adversarial else None
        frames = batch["target_frames"]
        key = named_key(self.seed, NAME, state.step)
        noise = jax.random.normal(key, (*frames.shape[:2], *self.networks.latent_shape))

        def of_clips(rows: tuple[jax.Array, ...]) -> tuple[Params, dict[str, jax.Array]]:
            inputs = [einops.rearrange(x, "b n ... -> (b n) ...") for x in rows]

            def loss_fn(params: Params) -> tuple[tuple[jax.Array, jax.Array], dict[str, jax.Array]]:
                params = gather_parameters(params, self.mesh, self.networks.dtype)
                return codec_losses(self.networks, self.options, params, frozen, *inputs, weight)

            return joint_gradients(loss_fn, state.params, DISCRIMINATOR)

        parts = self.options.micro_batches
        return accumulate_gradients(of_clips, (frames, noise), parts, self.mesh)


def codec_losses(
    networks: Networks,
    options: CodecTraining,
    params: Params,
    lpips_params: lpips.Params | None,
    frames_NXYC: jax.Array,
    noise_NhwZ: jax.Array,
    adversarial_weight: jax.Array | None,
) -> tuple[tuple[jax.Array, jax.Array], dict[str, jax.Array]]:
    """((d_loss, g_loss), metrics) of uint8 frames; the noise, standard normal, draws latents.

    Without an adversarial weight the discriminator is not run and d_loss is 0; without LPIPS
    weights there is no perceptual loss. The metric `kl` is the sum over a frame's latents.
    """
    pixels = normalise_frames(frames_NXYC)
    reconstruction, posterior = networks.apply(params, "frame_codec", pixels, noise_NhwZ)
    l1 = jnp.abs(reconstruction - pixels).mean()
    kl = posterior.kl().mean()
    g_loss = l1 + options.kl_weight * kl / pixels[0].size
    d_loss = jnp.zeros_like(g_loss)
    # Pixels span 2, so the peak of the signal is 2.
    psnr = 10.0 * jnp.log10(4.0 / jnp.square(reconstruction - pixels).mean())
    metrics = {"l1_loss": l1, "kl": kl, "psnr": psnr}
    if lpips_params is not None:
        perceptual = lpips.distance(PERCEPTUAL_BACKBONE, lpips_params, reconstruction, pixels)
        g_loss += options.perceptual_weight * perceptual.mean()
        metrics["perceptual_loss"] = perceptual.mean()
    if adversarial_weight is not None:
        # Frames lead, as they are sharded: each device judges its own.
        judged = einops.rearrange([pixels, reconstruction], "kind n x y c -> (n kind) x y c")
        logits = networks.apply(params, DISCRIMINATOR, judged)
        real, fake = einops.rearrange(logits, "(n kind) h w -> kind n h w", kind=2)
        d_loss = 0.5 * (hinge(real, 1.0).mean() + hinge(fake, -1.0).mean())
        adversarial = -fake.mean()
        g_loss += adversarial_weight * adversarial
        metrics |= {
            "adversarial_loss": adversarial,
            "adversarial_weight": adversarial_weight,
            "discriminator_loss": d_loss,
        }
    return (d_loss, g_loss), metrics | {"loss": g_loss}
