"""Stage A: video encoder, video decoder and pair discriminator in one jitted step.

Frozen codec encode -> encoder -> frame features and tokens -> UNet once -> x_0 -> frozen codec
decode of the first and last target -> discriminator once over all real and fake pairs:

    d_loss = mean hinge of the discriminator
    g_loss = mean |prediction - target|² + kl_weight KL + w(step) mean adversarial loss

The gradient of d_loss stops at the fakes; that of g_loss passes through the frozen discriminator
and codec to all other networks.

Dimension key: B clips, K key frames, n target frames, h, w, Z latents, H, W, G global feature.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import einops
import jax
import jax.numpy as jnp
import numpy as np

from glober_jax import losses
from glober_jax.diffusion.process import DiffusionProcess
from glober_jax.models.networks import AUTOENCODER, Networks, Params
from glober_jax.parallel.mesh import constrain_batch
from glober_jax.parallel.rules import gather_parameters
from glober_jax.randomness import named_key
from glober_jax.sampling.decode import FrameModel, codec_posterior
from glober_jax.training.adversarial import AdversarialOptions, AdversarialStage, joint_gradients
from glober_jax.training.gradient_accumulation import accumulate_gradients
from glober_jax.training.state import Batch, OptimizerOptions, TrainState

NAME = "autoencoder"
DISCRIMINATOR = "discriminator"
NETWORKS = (*AUTOENCODER, DISCRIMINATOR)


@dataclasses.dataclass(frozen=True)
class PairAdversaryOptions(AdversarialOptions):
    """The adversary judges every `clip_stride`-th clip of a batch, to save memory.

    Without `reaches_decoder` the decoder gets no gradient of it, as published.
    """

    clip_stride: int = 1
    reaches_decoder: bool = True


@dataclasses.dataclass(frozen=True)
class AutoencoderTraining:
    """Options of the stage.

    Attributes:
      micro_batches: parts of a batch, computed in turn: less memory, the same gradients.
      latent_scale: multiplies the codec's latents (Stable Diffusion's: 0.18215); 0: a mean and a
        scale per channel are measured.
      domain_dropout: fraction of clips without domain tokens and key frames, for guidance.
      key_dropout: fraction without key frames alone. As published (`models.compat`) tokens and key
        frames are dropped independently.
    """

    steps: int
    batch_size: int
    micro_batches: int = 1
    latent_scale: float = 0.0
    kl_weight: float = 1e-7
    domain_dropout: float = 0.1
    key_dropout: float = 0.1
    ema_decay: float = 0.9999
    optimizer: OptimizerOptions = dataclasses.field(default_factory=OptimizerOptions)
    adversarial: PairAdversaryOptions = dataclasses.field(default_factory=PairAdversaryOptions)


@dataclasses.dataclass(frozen=True)
class AutoencoderStage(AdversarialStage):
    """The stage as pure functions; the codec is frozen, constants are {"latent_scale"}."""

    name = NAME
    trained = NETWORKS
    averaged = AUTOENCODER
    discriminator = DISCRIMINATOR

    process: DiffusionProcess

    def gradients(
        self, state: TrainState, frozen: Params, batch: Batch, *, adversarial: bool
    ) -> tuple[Params, dict[str, jax.Array]]:
        """Both players' gradients of one batch, and its metrics: means over micro-batches."""
        stage = self.networks, self.process, self.options
        key = named_key(self.seed, NAME, state.step)
        latent_scale = state.constants["latent_scale"]
        constrain = functools.partial(constrain_batch, mesh=self.mesh)
        frozen = gather_parameters(frozen, self.mesh, self.networks.dtype)
        inputs = draw_inputs(*stage, FrameModel(frozen, latent_scale), batch, key)
        weight = self.options.adversarial.weight_at(state.step) if adversarial else None

        def of_clips(inputs: DenoisingInputs) -> tuple[Params, dict[str, jax.Array]]:
            def loss_fn(params: Params) -> tuple[tuple[jax.Array, jax.Array], dict[str, jax.Array]]:
                params = gather_parameters(params, self.mesh, self.networks.dtype)
                model = FrameModel(frozen | params, latent_scale)
                return autoencoder_losses(*stage, model, inputs, weight, constrain)

            return joint_gradients(loss_fn, state.params, DISCRIMINATOR)

        return accumulate_gradients(of_clips, inputs, self.options.micro_batches, self.mesh)


class DenoisingInputs(NamedTuple):
    """Inputs of a training pass: unit-variance latents, standard normal noise, t in 0..T - 1.

    Key latents are zero where key frames are dropped, `with_domain` where domain tokens are.
    """

    key_latents_BKhwZ: jax.Array
    z0_BnhwZ: jax.Array
    index_Bn: jax.Array
    with_domain_B: jax.Array
    feature_noise_BHWG: jax.Array
    t_Bn: jax.Array
    eps_BnhwZ: jax.Array


def draw_inputs(
    networks: Networks,
    process: DiffusionProcess,
    options: AutoencoderTraining,
    model: FrameModel,
    batch: Batch,
    key: jax.Array,
) -> DenoisingInputs:
    """Encodes a batch's key and target frames and draws everything random of the step."""
    keys = jax.random.split(key, 7)
    batch_size, targets = batch["target_index"].shape

    def latents_of(name: str, k: jax.Array) -> jax.Array:
        posterior = codec_posterior(networks, model.params, batch[name])
        return jax.lax.stop_gradient(model.latent_scale.normalise(posterior.sample(k)))

    if networks.compat == "reference":
        with_keys_B = jax.random.bernoulli(keys[2], 1.0 - options.key_dropout, (batch_size,))
        with_domain_B = jax.random.bernoulli(keys[3], 1.0 - options.domain_dropout, (batch_size,))
    else:
        # From 0: "video", "domain", all of it.
        branch_B = jax.random.uniform(keys[2], (batch_size,))
        with_keys_B = branch_B >= options.key_dropout + options.domain_dropout
        with_domain_B = with_keys_B | (branch_B < options.key_dropout)
    z0 = latents_of("target_frames", keys[1])
    return DenoisingInputs(
        key_latents_BKhwZ=latents_of("key_frames", keys[0])
        * with_keys_B[:, None, None, None, None],
        z0_BnhwZ=z0,
        index_Bn=batch["target_index"],
        with_domain_B=with_domain_B,
        feature_noise_BHWG=jax.random.normal(keys[4], (batch_size, *networks.global_shape)),
        t_Bn=jax.random.randint(keys[5], (batch_size, targets), 0, process.num_timesteps),
        eps_BnhwZ=jax.random.normal(keys[6], z0.shape),
    )


def autoencoder_losses(
    networks: Networks,
    process: DiffusionProcess,
    options: AutoencoderTraining,
    model: FrameModel,
    inputs: DenoisingInputs,
    adversarial_weight: jax.Array | None,
    constrain: Callable[[jax.Array], jax.Array] = lambda x: x,
) -> tuple[tuple[jax.Array, jax.Array], dict[str, jax.Array]]:
    """((d_loss, g_loss), metrics) of drawn inputs; deterministic.

    Without an adversarial weight the discriminator is not run and d_loss is 0. `constrain` may
    shard the leading axis of an array.
    """
    params = model.params | {"frame_codec": jax.lax.stop_gradient(model.params["frame_codec"])}
    model = model._replace(params=params)
    z0, eps, t_Bn = inputs.z0_BnhwZ, inputs.eps_BnhwZ, inputs.t_Bn

    posterior = networks.apply(params, "video_encoder", inputs.key_latents_BKhwZ)
    feature = posterior.at(inputs.feature_noise_BHWG)
    z_t = process.add_noise(z0, eps, t_Bn)
    prediction = predict_frames(
        networks, params, z_t, t_Bn, feature, inputs.index_Bn, inputs.with_domain_B
    )
    diffusion = process.loss(prediction, z0, eps, t_Bn).mean()
    kl = posterior.kl().mean()

    g_loss = diffusion + options.kl_weight * kl
    d_loss = jnp.zeros_like(g_loss)
    metrics = {"diffusion_loss": diffusion, "kl": kl, "feature_std": posterior.mean.std()}
    if adversarial_weight is not None:
        x0, _ = process.to_x0_eps(prediction, z_t, t_Bn)
        if networks.compat == "none":
            x0 = process.damp_gradient(x0, t_Bn)
        if not options.adversarial.reaches_decoder:
            x0 = jax.lax.stop_gradient(x0)
        # First and last target of every judged clip.
        judged = np.s_[:: options.adversarial.clip_stride, :: t_Bn.shape[1] - 1]
        d_loss, adversarial = adversarial_losses(networks, model, z0[judged], x0[judged], constrain)
        g_loss = g_loss + adversarial_weight * adversarial
        metrics |= {
            "adversarial_loss": adversarial,
            "adversarial_weight": adversarial_weight,
            "discriminator_loss": d_loss,
        }
    return (d_loss, g_loss), metrics | {"loss": g_loss}


def predict_frames(
    networks: Networks,
    params: Params,
    z_t_BnhwZ: jax.Array,
    t_Bn: jax.Array,
    global_BHWG: jax.Array,
    index_Bn: jax.Array,
    with_domain_B: jax.Array,
) -> jax.Array:
    """The video decoder's prediction [B, n, h, w, Z] for noisy frames of each clip."""
    batch, frames = index_Bn.shape
    maps = networks.apply(params, "frame_features", global_BHWG, index_Bn)
    tokens = networks.apply(params, "global_tokens", global_BHWG, with_domain_B)
    prediction = networks.apply(
        params,
        "unet",
        einops.rearrange(z_t_BnhwZ, "b n h w z -> (b n) h w z"),
        t_Bn.reshape(-1),
        jnp.repeat(tokens, frames, axis=0),
        [einops.rearrange(m, "b n h w c -> (b n) h w c") for m in maps],
    )
    return einops.rearrange(prediction, "(b n) h w z -> b n h w z", b=batch)


def adversarial_losses(
    networks: Networks,
    model: FrameModel,
    real_B2hwZ: jax.Array,
    fake_B2hwZ: jax.Array,
    constrain: Callable[[jax.Array], jax.Array] = lambda x: x,
) -> tuple[jax.Array, jax.Array]:
    """(discriminator, decoder) losses of the first and last target frame, in pixels.

    Real frames pass through the codec as well, so that its traces tell nothing.
    """
    # Clips lead every flattened axis, which is constrained again: otherwise XLA shards channels.
    latents = model.latent_scale.restore(jnp.stack([real_B2hwZ, fake_B2hwZ], axis=1))
    flat = einops.rearrange(latents, "b source two h w z -> (b source two) h w z")
    frames = networks.apply(model.params, "frame_codec", constrain(flat), method="decode")
    frames = einops.rearrange(frames, "(b source two) x y c -> b source two x y c", source=2, two=2)
    pairs = losses.frame_pairs(frames[:, 0], frames[:, 1])
    pairs = einops.rearrange(pairs, "k b two x y c -> (b k) two x y c")
    logits = networks.apply(model.params, DISCRIMINATOR, constrain(pairs))
    logits = einops.rearrange(logits, "(b k) -> k b", k=len(losses.PAIR_KINDS))
    return (
        losses.discriminator_loss(logits).mean(),
        losses.decoder_adversarial_loss(logits, networks.compat).mean(),
    )
