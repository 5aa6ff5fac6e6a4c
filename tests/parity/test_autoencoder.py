"""The whole autoencoder: a training pass with recorded noises, and guided sampling.

Dimension key: B clips, n target frames, F slots, h, w, Z latents of a frame, G global feature.
"""

from typing import Any, NamedTuple

import einops
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glober_jax.diffusion.ddim import DDIMSchedule, ddim, ddim_step
from glober_jax.diffusion.guidance import DecoderGuidance
from glober_jax.diffusion.process import DiffusionProcess
from glober_jax.interop import reference
from glober_jax.interop.network import Part, export_networks
from glober_jax.models.condition import ConditionTokens
from glober_jax.models.discriminator import PairDiscriminator, PatchDiscriminator
from glober_jax.models.frame_codec import FrameCodec
from glober_jax.models.generator import GlobalGenerator
from glober_jax.models.latents import ChannelScale
from glober_jax.models.networks import AUTOENCODER, Networks, Params
from glober_jax.models.video_decoder import GlobalTokens
from glober_jax.sampling.decode import FrameModel, frame_predictor
from glober_jax.training.autoencoder import (
    AutoencoderTraining,
    DenoisingInputs,
    autoencoder_losses,
    predict_frames,
)
from tests.parity import published
from tests.parity.recording import NETWORK, Recording, converted, relative_error
from tests.parity.test_networks import assert_gradient_norms

# A change of 1e-5 in the first noise moves the last frame by 3e-4.
TRAJECTORY = 2e-3


class Autoencoder(NamedTuple):
    """The networks of a recorded autoencoder and its weights."""

    networks: Networks
    params: Params


def autoencoder_of(recording: Recording) -> Autoencoder:
    arguments = recording.meta["config"]
    encoder = published.video_encoder(arguments["venc"])
    unet = published.unet(arguments["unet"])
    slots = recording["in/full_index"].shape[1]
    networks = Networks(
        frame_codec=FrameCodec(latent_channels=unet.latent_channels),
        patch_discriminator=PatchDiscriminator(),
        video_encoder=encoder,
        frame_features=published.frame_features(arguments["venc"], unet.feature_widths, slots),
        global_tokens=GlobalTokens(width=arguments["unet"]["context_dim"]),
        unet=unet,
        discriminator=PairDiscriminator(),
        condition=ConditionTokens("unconditional"),
        generator=GlobalGenerator(),
        frame_size=8 * recording["in/key_frames"].shape[-1],
        num_key_frames=recording["in/key_frames"].shape[2],
    )
    shapes = jax.eval_shape(lambda: networks.init_all(AUTOENCODER, jax.random.key(0)))
    namings = reference.autoencoder_file(networks)
    parts = {name: Part(shapes[name], namings[name]) for name in AUTOENCODER}
    return Autoencoder(networks, converted(recording, parts))


def by_clip(frames_NCHW: np.ndarray, clips: int) -> np.ndarray:
    """[(B n), Z, h, w] -> [B, n, h, w, Z]."""
    return einops.rearrange(frames_NCHW, "(b n) z h w -> b n h w z", b=clips)


@pytest.mark.recorded("ae_train")
def test_training_pass(recording: Recording) -> None:
    """Fails when a loss, or the gradient of any weight, is not the published one.

    The release never trains the embedding of t; that we do is the one difference.
    """
    networks, params = autoencoder_of(recording)
    key_latents = recording.channels_last("in/key_frames")
    clips = len(key_latents)
    z0 = by_clip(recording["in/x_start"], clips)
    inputs = DenoisingInputs(
        key_latents_BKhwZ=key_latents,
        z0_BnhwZ=z0,
        index_Bn=recording["in/tar_index"].astype(np.float32),
        with_domain_B=np.ones(clips, np.float32),
        feature_noise_BHWG=recording.channels_last("in/noise_vc"),
        t_Bn=recording["in/t"].reshape(clips, -1),
        eps_BnhwZ=by_clip(recording["in/noise_tar"], clips),
    )
    process = DiffusionProcess()
    options = AutoencoderTraining(1, clips, kl_weight=recording.meta["kl_loss_weight"])
    identity = ChannelScale.constant(1.0, z0.shape[-1])

    @jax.jit
    def run(params: Params, inputs: DenoisingInputs) -> Any:
        def loss_fn(p: Params) -> tuple[jax.Array, dict[str, jax.Array]]:
            model = FrameModel(p | {"frame_codec": {}}, identity)
            (_, loss), metrics = autoencoder_losses(
                networks, process, options, model, inputs, adversarial_weight=None
            )
            return loss, metrics

        (loss, metrics), gradients = jax.value_and_grad(loss_fn, has_aux=True)(params)
        posterior = networks.apply(params, "video_encoder", inputs.key_latents_BKhwZ)

        def predict(z_t: jax.Array, feature: jax.Array) -> jax.Array:
            conditions = (inputs.index_Bn, inputs.with_domain_B)
            return predict_frames(networks, params, z_t, inputs.t_Bn, feature, *conditions)

        # The release evaluates without noise in the feature, on other noisy frames.
        evaluated = predict(by_clip(recording["in/x_t"], clips), posterior.mean)
        z_t = process.add_noise(inputs.z0_BnhwZ, inputs.eps_BnhwZ, inputs.t_Bn)
        of_sample = predict(z_t, posterior.at(inputs.feature_noise_BHWG))
        x0, _ = process.to_x0_eps(of_sample, z_t, inputs.t_Bn)
        return loss, metrics, gradients, evaluated, x0

    loss, metrics, gradients, eps, x0 = jax.device_get(run(params, inputs))
    assert relative_error(loss, recording["out/loss"]) < NETWORK
    assert relative_error(metrics["diffusion_loss"], recording["out/loss_simple"]) < NETWORK
    assert relative_error(metrics["kl"], recording["out/kl_mean"]) < NETWORK
    assert relative_error(eps, by_clip(recording["out/eps_eval"], clips)) < NETWORK
    assert relative_error(x0, by_clip(recording["out/x_recon"], clips)) < NETWORK

    namings = reference.autoencoder_file(networks)
    exported = dict(export_networks([Part(gradients[n], namings[n]) for n in AUTOENCODER]))
    for name, expected in recording.named("grad/").items():
        assert relative_error(exported[name], expected) < 1e-3, name
    norms = recording.named("gradnorm/")
    assert_gradient_norms(exported, norms)
    unseen = exported.keys() - norms.keys()
    assert all(name.startswith("model.diffusion_model.time_embed.") for name in unseen)


@pytest.mark.recorded("ae_sample")
def test_guided_sampling(recording: Recording) -> None:
    """Fails when a step, a branch of the guidance or the empty feature is not the published one."""
    weights = recording.file.with_name(recording.file.name.replace("ae_sample", "ae_train"))
    if not weights.exists():
        pytest.skip(f"the weights of this recording are those of {weights}, which is not there")
    networks, params = autoencoder_of(Recording(weights))
    meta, process = recording.meta, DiffusionProcess()
    guidance = DecoderGuidance(meta["scale_video"], meta["scale_domain"])
    key_latents, noise = recording.channels_last("in/key_frames"), recording.channels_last("in/x_T")
    schedule = DDIMSchedule.of(process, meta["steps"], "leading")
    np.testing.assert_array_equal(schedule.timesteps, recording["mid/timesteps"])
    trajectory = np.moveaxis(recording["mid/traj"], 3, -1)

    @jax.jit
    def run(params: Params, noise: jax.Array, before: jax.Array) -> Any:
        feature = networks.apply(params, "video_encoder", key_latents).mean
        empty = networks.apply(params, "video_encoder", jnp.zeros_like(key_latents)).mean
        predictor = frame_predictor(networks, guidance, params, feature, recording["in/tar_index"])
        frames = ddim(process, predictor, noise, meta["steps"], spacing="leading")

        def step(_: None, level_x: tuple[DDIMSchedule, jax.Array]) -> tuple[None, Any]:
            level, x_t = level_x
            prediction = predictor.guided(x_t, level.timesteps)
            x0, _ = process.to_x0_eps(prediction, x_t, jnp.full(len(x_t), level.timesteps))
            return None, jnp.stack([ddim_step(process, level, x_t, prediction), x0])

        return feature, empty, frames, jax.lax.scan(step, None, (schedule, before))[1]

    # Every recorded step from the recorded state before it, and the whole way from the noise.
    before = np.concatenate([noise[None], trajectory[:-1, 0]])
    feature, empty, frames, steps = jax.device_get(run(params, noise, before))
    assert relative_error(feature, recording.channels_last("mid/global_feat")) < NETWORK
    assert relative_error(empty, recording.channels_last("mid/uncond_global_feat")) < NETWORK
    for ours, expected in zip(steps, trajectory, strict=True):
        assert relative_error(ours, expected) < NETWORK
    assert relative_error(frames, recording.channels_last("out/samples")) < TRAJECTORY
