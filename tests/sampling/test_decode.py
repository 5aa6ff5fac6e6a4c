"""Decoding: a frame is the same alone, in a sub-clip, in any chunk and beside any other video."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from glober_jax.diffusion.ddim import sampling_timesteps
from glober_jax.experiment.options import Experiment
from glober_jax.models.latents import ChannelScale
from glober_jax.models.networks import Networks, Params
from glober_jax.sampling.decode import FrameModel, VideoSampler, denoise_frames, drawn_noise
from glober_jax.sampling.generate import FeatureModel, generate_features
from glober_jax.sampling.noise import frame_noise
from glober_jax.sampling.options import SamplingOptions
from glober_jax.training.autoencoder import predict_frames
from glober_jax.training.generator import GeneratorTraining, draw_noise, generator_loss
from tests.tiny import mesh_of

SUB_CLIP = [3, 7]
INDEX = np.arange(16, dtype=np.float32) / 16


@pytest.fixture(scope="module")
def features(small_experiment: Experiment) -> np.ndarray:
    """Global features of three videos."""
    shape = (3, *small_experiment.networks.global_shape)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    "changes",
    [
        {"eta": 0.5},
        {"sampler": "dpm++", "spacing": "karras", "eta": 0.0, "steps": 3, "threshold": 0.9}
        | {"video_scale": 1.5, "shared_noise": 0.5},
    ],
    ids=["ddim", "dpm++"],
)
def test_sub_clip_alone_equals_its_frames_of_the_full_decode(
    small_experiment: Experiment,
    small_model: FrameModel,
    features: np.ndarray,
    changes: dict[str, Any],
) -> None:
    """Fails when frames exchange information while they are denoised, or noise goes by position.

    Noise that is added on the way (eta > 0) is the frame's own, too.
    """
    networks, process = small_experiment.networks, small_experiment.diffusion
    options = dataclasses.replace(small_experiment.sampling, **changes)
    options.solver.check(process)

    @jax.jit
    def denoise(
        params: Params, feature: jax.Array, video_B: jax.Array, index_Bn: jax.Array
    ) -> jax.Array:
        noise = drawn_noise(networks, options, 5, video_B, index_Bn)
        given = (params, feature, index_Bn, noise)
        return denoise_frames(networks, process, options, *given)

    def latents(videos: list[int], index_n: np.ndarray) -> np.ndarray:
        index = np.tile(index_n, (len(videos), 1))
        given = (small_model.params, features[videos], np.array(videos), index)
        return jax.device_get(denoise(*given))

    full, alone = latents([0, 1], INDEX), latents([1], INDEX[SUB_CLIP])
    assert np.isfinite(full).all()
    np.testing.assert_allclose(alone[0], full[1, SUB_CLIP], rtol=1e-5, atol=1e-5)
    assert np.abs(full[1, 3] - full[1, 7]).max() > 0.1


def test_chunks_and_neighbouring_videos_change_nothing(
    small_experiment: Experiment, small_model: FrameModel, features: np.ndarray
) -> None:
    """Fails when a block at the end is cut, shifted or given another video's noise or feature.

    The full clip is decoded in blocks of one video and five frames, the sub-clip in blocks of two
    videos and two frames; the last block of each axis is filled up.
    """
    experiment = small_experiment
    options = dataclasses.replace(experiment.sampling, chunk_frames=5)
    sampler = VideoSampler(experiment.networks, experiment.diffusion, options, mesh_of())
    full = sampler.decode(small_model, features, INDEX, 5)
    assert full.shape == (3, 16, 8, 8, 3)
    sub_clip = sampler.decode(small_model, features, INDEX[SUB_CLIP], 5)
    # Rounding to pixels may turn a difference in the last digit into one level.
    assert np.abs(sub_clip.astype(int) - full[:, SUB_CLIP]).max() <= 1
    fewer = sampler.decode(small_model, features[:2], INDEX[SUB_CLIP], 5)
    np.testing.assert_array_equal(fewer, sub_clip[:2])
    # Videos, frames and seeds do differ.
    assert np.abs(full[0].astype(int) - full[1]).max() > 20
    assert np.abs(full[0, 3].astype(int) - full[0, 7]).max() > 20
    assert (sampler.decode(small_model, features[:2], INDEX[SUB_CLIP], 6) != fewer).any()


def test_guidance_combines_the_three_published_branches(
    small_experiment: Experiment, small_model: FrameModel, features: np.ndarray
) -> None:
    """Fails when a branch gets another branch's feature or tokens.

    One step of sampling is linear in the prediction, so it can be written out.
    """
    networks, process = small_experiment.networks, small_experiment.diffusion
    params, index = small_model.params, INDEX[None, SUB_CLIP]
    noise = jax.device_get(frame_noise(5, np.array([0]), index, networks.latent_shape, shared=0.0))
    no_keys = np.zeros((1, networks.num_key_frames, *networks.latent_shape), np.float32)
    empty = jax.jit(lambda p, x: networks.apply(p, "video_encoder", x).mean)(params, no_keys)
    t = sampling_timesteps(process.num_timesteps, 1, "trailing")
    steps = np.full(index.shape, t[0])

    predict = jax.jit(functools.partial(predict_frames, networks))
    full, video, domain = (
        predict(params, noise, steps, feature, index, np.float32([with_domain]))
        for feature, with_domain in ((features[:1], 1), (empty, 1), (empty, 0))
    )
    combined = domain + 1.5 * (full - video) + 2.0 * (full - domain)

    def sampled(**scales: float) -> jax.Array:
        how = (networks, process, SamplingOptions(steps=1, **scales))
        denoise = jax.jit(lambda *given: denoise_frames(*how, *given, lambda step: noise))
        return denoise(params, features[:1], index)

    for prediction, out in (
        (combined, sampled(video_scale=1.5, domain_scale=2.0)),
        (full, sampled()),
    ):
        expected, _ = process.to_x0_eps(prediction, noise, steps)
        np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
    assert float(np.abs(video - domain).max()) > 0.01


def test_condition_scale_one_is_the_conditional_prediction(
    small_experiment: Experiment, small_model: FrameModel
) -> None:
    """Fails when a scale of 1 is guided, or a larger is not."""
    networks, process = small_experiment.networks, small_experiment.generator_diffusion
    model = FeatureModel(small_model.params, ChannelScale(np.float32(0.3), np.float32(1.5)))
    videos, labels = np.arange(2), np.array([1, 3])

    def compiled(condition_scale: float) -> Any:
        options = SamplingOptions(steps=1, condition_scale=condition_scale)
        compute = jax.jit(functools.partial(generate_features, networks, process, options))
        # The others are conditioned on the lead channels, which are guided already.
        lead = networks.generator.groups[0]
        return lambda labels: np.asarray(compute(model, videos, labels, np.uint32(3))[..., lead])

    plain = compiled(1.0)
    conditional, unconditional = plain(labels), compiled(0.0)(labels)
    guided = unconditional + 3.0 * (conditional - unconditional)
    assert np.abs(conditional - unconditional).max() > 0.01
    np.testing.assert_allclose(compiled(3.0)(labels), guided, rtol=1e-4, atol=1e-4)
    # A video is a function of its number and label, whatever is generated beside it.
    other = plain(np.array([1, 0]))
    np.testing.assert_allclose(other[0], conditional[0], rtol=1e-5, atol=1e-5)
    assert np.abs(other[1] - conditional[1]).max() > 0.01


def test_lead_channels_condition_the_others(small_experiment: Experiment) -> None:
    """Fails when training or sampling mixes up the groups, their steps, or what they are given.

    The second half of the channels is a copy of the first, and the network sees the first before.
    """
    process = small_experiment.generator_diffusion
    solver = SamplingOptions("dpm++", 10, spacing="log_snr")
    generator = small_experiment.networks.generator.clone(lead_channels=8)
    networks = dataclasses.replace(small_experiment.networks, generator=generator)
    options = GeneratorTraining(steps=100, batch_size=32)
    optimizer = optax.adam(3e-3)
    params = networks.init_all(("condition", "generator"), jax.random.key(0))

    @jax.jit
    def step(params: Params, state: Any, number: jax.Array) -> tuple[Params, Any]:
        key_first, key = jax.random.split(jax.random.fold_in(jax.random.key(1), number))
        first = jax.random.normal(key_first, (options.batch_size, *networks.global_shape[:2], 8))
        features = jnp.concatenate([first, first], -1)
        noise = draw_noise(networks, process, options, options.batch_size, key)
        labels = jnp.zeros(options.batch_size, jnp.int32)
        loss = functools.partial(generator_loss, networks, process)
        gradients = jax.grad(loss)(params, features, labels, noise)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for number in range(options.steps):
        params, state = step(params, state, number)
    model = FeatureModel(params, ChannelScale(np.float32(0), np.float32(1)))
    generate = jax.jit(functools.partial(generate_features, networks, process, solver))
    made = generate(model, np.arange(32), np.zeros(32, np.int32), np.uint32(0))
    first, second = made[..., :8], made[..., 8:]
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.9
    assert 0.8 < first.std() < 1.2


def test_each_group_is_denoised_at_its_own_step(
    small_experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when the network is told other steps than its inputs are at.

    In place of the network: the exact posterior mean for two equal halves of the channels.
    """
    process = small_experiment.generator_diffusion
    generator = small_experiment.networks.generator.clone(lead_channels=8)
    networks = dataclasses.replace(small_experiment.networks, generator=generator)

    def posterior_mean(_: Any, params: Params, name: str, x: Any, t_BN: Any, *rest: Any) -> Any:
        if name == "condition":
            return jnp.zeros((len(x), 1, 1))
        alphas = jnp.asarray(process.alphas_cumprod)[jnp.int32(t_BN)][..., None, None, None]
        precision = alphas / (1 - alphas)
        halves = jnp.stack([x[..., :8], x[..., 8:]], 1) / jnp.sqrt(alphas)
        return jnp.tile((precision * halves).sum(1) / (1 + precision.sum(1)), 2)

    monkeypatch.setattr(Networks, "apply", posterior_mean)
    model = FeatureModel({}, ChannelScale(np.float32(0), np.float32(1)))
    options = SamplingOptions("ddim", 50, eta=1.0)
    how = networks, process, options, model
    made = generate_features(*how, np.arange(32), np.zeros(32, np.int32), np.uint32(0))
    first, second = made[..., :8], made[..., 8:]
    # The lead is given with a little noise.
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.98
    assert 0.9 < first.std() < 1.1 and 0.9 < second.std() < 1.1
