"""A plain video diffusion model, without a global feature, as a baseline of GLOBER.

The same UNet denoises the latents of all frames of a clip together, at one noise level; frames
attend to each other (`UNet.clip_frames`), and its tokens are those of the condition. Clips are as
long as in training.

Dimension key: B clips, T frames, h, w, Z latents, L tokens, E their width, X, Y frame size.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import einops
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, Mesh

from glober_jax.data.clips import ClipSpec
from glober_jax.diffusion.guidance import guided_predictor
from glober_jax.diffusion.process import DiffusionProcess
from glober_jax.diffusion.samplers import sample
from glober_jax.experiment.options import Experiment
from glober_jax.experiment.pipeline import Pipeline, measured_scale
from glober_jax.experiment.stages import AbstractStage, batch_shapes
from glober_jax.models.networks import Networks, Params
from glober_jax.parallel.mesh import batch_share, replicated
from glober_jax.parallel.rules import gather_parameters
from glober_jax.randomness import named_key, seed_words
from glober_jax.sampling.decode import FrameModel, decode_latents
from glober_jax.sampling.noise import frame_noise
from glober_jax.sampling.options import SamplingOptions
from glober_jax.training import autoencoder, codec
from glober_jax.training.autoencoder import codec_posterior
from glober_jax.training.generator import GeneratorTraining
from glober_jax.training.gradient_accumulation import accumulate_gradients
from glober_jax.training.loop import Preview, Stage
from glober_jax.training.restore import constant_shapes
from glober_jax.training.state import Batch, TrainState, new_state

NAME = "plain_video"
# In a workdir.
CLIPS_FILE = "clips.npy"
NETWORKS = ("condition", "unet")


@dataclasses.dataclass(frozen=True)
class PlainVideoStage:
    """The stage as pure functions of state, frozen codec and batch."""

    networks: Networks
    process: DiffusionProcess
    options: GeneratorTraining
    seed: int
    mesh: Mesh | AbstractMesh

    @classmethod
    def of(cls, experiment: Experiment, mesh: Mesh | AbstractMesh) -> "PlainVideoStage":
        """The stage with batch, steps, average and optimizer of the config's autoencoder."""
        shared = experiment.autoencoder
        options = GeneratorTraining(
            steps=shared.steps,
            batch_size=shared.batch_size,
            micro_batches=shared.micro_batches,
            ema_decay=shared.ema_decay,
            optimizer=shared.optimizer,
            condition_dropout=experiment.generator.condition_dropout,
        )
        unet = experiment.networks.unet.clone(clip_frames=experiment.clip.num_frames)
        networks = dataclasses.replace(experiment.networks, unet=unet)
        return cls(networks, experiment.diffusion, options, experiment.seed, mesh)

    def create(self, constants: dict[str, Any], given: Params | None = None) -> TrainState:
        """The state at step 0; `constants` = {"latent_scale": ChannelScale}."""
        unet_key, condition_key = jax.random.split(named_key(self.seed, "plain_video_init"))
        networks, frames = self.networks, self.networks.unet.clip_frames
        context = (frames, networks.condition.length, networks.condition.width)
        latents_ThwZ = jnp.zeros((frames, *networks.latent_shape))
        unet = networks.unet.init(unet_key, latents_ThwZ, jnp.zeros(frames), jnp.zeros(context))
        params = {
            "condition": networks.init("condition", condition_key),
            "unet": unet["params"],
            **(given or {}),
        }
        return new_state(params, self._optimizer(), NETWORKS, constants)

    def step(
        self, state: TrainState, frozen: Params, batch: Batch
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """One update on `target_frames`, all frames of each clip, and their `label` or `text`."""
        networks, options = self.networks, self.options
        keys = jax.random.split(named_key(self.seed, NAME, state.step), 4)
        frozen = gather_parameters(frozen, self.mesh, networks.dtype)
        posterior = codec_posterior(networks, frozen, batch["target_frames"])
        z0 = state.constants["latent_scale"].normalise(posterior.sample(keys[0]))
        clips = len(z0)
        rows = (
            jax.lax.stop_gradient(z0),
            jax.random.randint(keys[1], (clips,), 0, self.process.num_timesteps),
            jax.random.normal(keys[2], z0.shape),
            batch[networks.condition.field],
            jax.random.bernoulli(keys[3], 1.0 - options.condition_dropout, (clips,)),
        )

        def of_clips(rows: tuple[jax.Array, ...]) -> tuple[Params, dict[str, jax.Array]]:
            def loss_fn(params: Params) -> jax.Array:
                params = gather_parameters(params, self.mesh, networks.dtype)
                return clip_loss(networks, self.process, params, *rows)

            loss, gradients = jax.value_and_grad(loss_fn)(state.params)
            return gradients, {"loss": loss}

        gradients, metrics = accumulate_gradients(of_clips, rows, options.micro_batches, self.mesh)
        return state.apply_if_finite(gradients, metrics, self._optimizer(), options.ema_decay)

    def _optimizer(self) -> Any:
        return self.options.optimizer.build(self.options.steps)


def predict_clips(
    networks: Networks, params: Params, z_BThwZ: jax.Array, t_B: jax.Array, context_BLE: jax.Array
) -> jax.Array:
    """The UNet's prediction [B, T, h, w, Z] for noisy clips."""
    frames = z_BThwZ.shape[1]
    rows = einops.rearrange(z_BThwZ, "b t h w z -> (b t) h w z")
    each = (jnp.repeat(x, frames, axis=0) for x in (t_B, context_BLE))
    prediction = networks.apply(params, "unet", rows, *each)
    return einops.rearrange(prediction, "(b t) h w z -> b t h w z", t=frames)


def clip_loss(
    networks: Networks,
    process: DiffusionProcess,
    params: Params,
    z0_BThwZ: jax.Array,
    t_B: jax.Array,
    eps_BThwZ: jax.Array,
    condition: jax.Array,
    with_condition_B: jax.Array,
) -> jax.Array:
    """Mean diffusion loss of normalised latents; deterministic."""
    context_BLE = networks.apply(params, "condition", condition, with_condition_B)
    z_t = process.add_noise(z0_BThwZ, eps_BThwZ, t_B)
    prediction = predict_clips(networks, params, z_t, t_B, context_BLE)
    return process.loss(prediction, z0_BThwZ, eps_BThwZ, t_B).mean()


def clip_sampler(
    stage: PlainVideoStage, options: SamplingOptions, batch: int
) -> Callable[[FrameModel, np.ndarray, int], np.ndarray]:
    """(model, conditions, seed) to a clip for each condition, uint8 [B, T, X, Y, 3].

    A clip depends on (seed, position, condition) only; `batch` are sampled at a time.
    """
    networks, frames = stage.networks, stage.networks.unet.clip_frames

    @functools.partial(jax.jit, out_shardings=replicated(stage.mesh))
    def sample_batch(
        model: FrameModel, video_B: jax.Array, condition: jax.Array, seed: jax.Array
    ) -> jax.Array:
        index_BT = jnp.broadcast_to(jnp.arange(frames) / frames, (len(video_B), frames))

        def noise(step: jax.Array | int) -> jax.Array:
            # Independent for each frame, as in training.
            return frame_noise(seed, video_B, index_BT, networks.latent_shape, 0.0, step)

        def context(present: float) -> jax.Array:
            with_condition_B = jnp.full(video_B.shape, present)
            return networks.apply(model.params, "condition", condition, with_condition_B)

        predictor = guided_predictor(
            options.condition_guidance,
            functools.partial(predict_clips, networks, model.params),
            {"with": context(1.0), "without": context(0.0)},
        )
        latents = sample(
            stage.process, options.solver, predictor, noise(0), draw_noise=lambda t: noise(t + 1)
        )
        return decode_latents(networks, model, latents)

    def sample_all(model: FrameModel, conditions: np.ndarray, seed: int) -> np.ndarray:
        made = []
        for first in range(0, len(conditions), batch):
            # The last batch is padded, for one compiled program.
            numbers = np.arange(first, first + batch, dtype=np.int32)
            rows = np.minimum(numbers, len(conditions) - 1)
            made.append(sample_batch(model, numbers, conditions[rows], seed_words(seed)))
        return np.concatenate(jax.device_get(made))[: len(conditions)]

    return sample_all


def whole_clips(clip: ClipSpec) -> ClipSpec:
    """The spec for reading all frames of a clip."""
    return dataclasses.replace(clip, num_key_frames=0, num_target_frames=clip.num_frames)


def plain_video_stage(pipeline: Pipeline, stage: PlainVideoStage, codec_params: Params) -> Stage:
    """The stage for the training loop, on the pipeline's data; needs a trained codec."""
    _, source = pipeline.frozen_codec()
    clip, size = whole_clips(pipeline.experiment.clip), stage.options.batch_size
    share, text = batch_share(pipeline.mesh), stage.networks.condition.kind == "text"
    read = pipeline.data.batches
    batches = functools.partial(read, source, clip, size, stage.seed, text, share)

    def measure() -> dict[str, Any]:
        def latents(params: Params, frames: jax.Array, number: jax.Array) -> jax.Array:
            key = named_key(stage.seed, "latent_scale", number)
            return codec_posterior(stage.networks, params, frames).sample(key)

        scale = measured_scale(latents, codec_params, batches(0), "target_frames", pipeline.mesh)
        return {"latent_scale": scale}

    return Stage(
        name=NAME,
        total_steps=stage.options.steps,
        create=stage.create,
        measure=measure,
        constant_shapes=constant_shapes(stage.networks, autoencoder.NAME),
        programs=((0, stage.step),),
        frozen=codec_params,
        batches=batches,
        preview=lambda state: Preview({}, {}),
    )


def abstract_plain_video(experiment: Experiment, mesh: Mesh | AbstractMesh) -> AbstractStage:
    """The stage without data and parameters, like those of `experiment.stages`."""
    stage = PlainVideoStage.of(experiment, mesh)
    whole = dataclasses.replace(experiment, clip=whole_clips(experiment.clip))
    batch = batch_shapes(whole, autoencoder.NAME)
    if stage.networks.condition.kind == "text":
        batch["text"] = stage.networks.condition.input(stage.options.batch_size)
    return AbstractStage(
        name=NAME,
        total_steps=stage.options.steps,
        batch_size=stage.options.batch_size,
        programs=((0, stage.step),),
        state=jax.eval_shape(stage.create, constant_shapes(stage.networks, autoencoder.NAME)),
        frozen=stage.networks.shapes(codec.AVERAGED),
        batch=batch,
    )
