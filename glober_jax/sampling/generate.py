"""Noise -> global features, by the diffusion transformer, under conditions.

Dimension key: B videos, H, W, G global feature, L tokens of a text, E their width, N channel
groups.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from glober_jax.diffusion.guidance import guided_predictor
from glober_jax.diffusion.process import DiffusionProcess
from glober_jax.diffusion.samplers import sample
from glober_jax.models.latents import ChannelScale
from glober_jax.models.networks import Networks, Params
from glober_jax.randomness import named_key, seed_words
from glober_jax.sampling.devices import ALL, VIDEOS, filled_up, piece, spread
from glober_jax.sampling.options import SamplingOptions

# Lead channels condition the others with noise of this fraction of the steps, which hides how
# generated ones differ from those of training (conditioning augmentation, arXiv 2106.15282).
GIVEN_NOISE = 0.02


class FeatureModel(NamedTuple):
    """Parameters of generator and condition, and the scale of the features made: a pytree."""

    params: Params
    feature_scale: ChannelScale


class Conditions(NamedTuple):
    """One condition per video.

    `values` are inputs of `ConditionTokens`: labels int32 [B] (zeros without classes), or text
    embeddings float16 [B, L, E]. `names` are class names, captions, or empty.
    """

    values: np.ndarray
    names: list[str]

    @property
    def record(self) -> dict[str, Any]:
        """The conditions as JSON values."""
        if self.values.ndim == 1:
            return {"labels": self.values.tolist()}
        return {"prompts": self.names}


def class_conditions(count: int, labels: Sequence[int], classes: Sequence[str]) -> Conditions:
    """`count` videos of these classes in turn."""
    values = np.resize(np.array(labels, np.int32), count)
    return Conditions(values, [classes[label] for label in values])


def no_conditions(count: int) -> Conditions:
    """`count` videos of an unconditional generator."""
    return Conditions(np.zeros(count, np.int32), [])


def text_conditions(count: int, captions: Sequence[str], texts: np.ndarray) -> Conditions:
    """`count` videos of these captions, which have the embeddings `texts`, in turn."""
    turn = np.arange(count) % len(captions)
    return Conditions(texts[turn], [captions[i] for i in turn])


def generate_features(
    networks: Networks,
    process: DiffusionProcess,
    options: SamplingOptions,
    model: FeatureModel,
    video_B: jax.Array,
    condition: jax.Array,
    seed: jax.Array | int,
) -> jax.Array:
    """New global features [B, H, W, G] in the video encoder's scale, for videos by number.

    Each is a pure function of (seed, video number, condition): a label or text embeddings, as
    `ConditionTokens` takes them. `options.condition_scale` is the guidance scale; at 1, and
    outside `options.condition_interval`, a step costs one row per video instead of two. Every
    channel group of the generator takes all steps of the sampler.
    """

    def noise(step: jax.Array | int) -> jax.Array:
        root = named_key(seed, "feature_noise", step)
        return jax.vmap(
            lambda video: jax.random.normal(jax.random.fold_in(root, video), networks.global_shape)
        )(video_B)

    def context(present: float) -> jax.Array:
        with_condition_B = jnp.full(video_B.shape, present)
        return networks.apply(model.params, "condition", condition, with_condition_B)

    contexts = {"with": context(1.0), "without": context(0.0)}
    groups, steps = networks.generator.groups, process.num_timesteps

    def with_group(features_BHWG: jax.Array, number: int) -> jax.Array:
        """Replaces the noise of one group of channels, given the groups before it."""
        group, level = groups[number], round(GIVEN_NOISE * steps)
        t_N = np.float32(np.where(np.arange(len(groups)) < number, level, steps - 1))
        level_B = jnp.full(video_B.shape, level)
        nearly_clean = process.add_noise(features_BHWG, noise(steps + 1), level_B)
        before = np.arange(features_BHWG.shape[-1]) < group.start
        given_BHWG = jnp.where(before, nearly_clean, features_BHWG)

        def network(x_t: jax.Array, t_B: jax.Array, condition: tuple[jax.Array, ...]) -> jax.Array:
            context_BLE, given_BHWG = condition
            noisy = given_BHWG.at[..., group].set(x_t)
            t_BN = jnp.tile(t_N, (len(t_B), 1)).at[:, number].set(t_B)
            return networks.apply(model.params, "generator", noisy, t_BN, context_BLE)[..., group]

        made = sample(
            process,
            options.solver,
            guided_predictor(
                options.condition_guidance,
                network,
                {branch: (context_BLE, given_BHWG) for branch, context_BLE in contexts.items()},
            ),
            noise(0)[..., group],
            draw_noise=lambda t: noise(t + 1)[..., group],
        )
        return features_BHWG.at[..., group].set(made)

    features = functools.reduce(with_group, range(len(groups)), noise(0))
    return model.feature_scale.restore(features)


class FeatureSampler:
    """Compiled generation of global features; holds compiled functions, no parameters."""

    def __init__(
        self, networks: Networks, process: DiffusionProcess, options: SamplingOptions, mesh: Mesh
    ) -> None:
        self._devices = mesh.size
        self._generate = spread(
            functools.partial(generate_features, networks, process, options),
            mesh,
            networks.dtype,
            rows=(VIDEOS, VIDEOS, ALL),
            output=VIDEOS,
        )

    def trace(self, model: FeatureModel, condition: np.ndarray) -> jax.stages.Traced:
        """The traced program of `len(condition)` videos, to count its cost."""
        rows = self._rows(condition, 0)
        return self._generate(len(rows[0])).trace(model, *rows, seed_words(0))

    def __call__(
        self, model: FeatureModel, condition: np.ndarray, seed: int, first_video: int = 0
    ) -> np.ndarray:
        """New features [B, H, W, G] of videos `first_video` ... under these conditions."""
        rows = self._rows(condition, first_video)
        features = self._generate(len(rows[0]))(model, *rows, seed_words(seed))
        return jax.device_get(features)[: len(condition)]

    def _rows(self, condition: np.ndarray, first_video: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers and conditions of the videos, and of some more that fill up the devices."""
        videos = len(condition)
        padded_B, _ = piece(videos, 1, self._devices, videos)
        numbers = np.int32(first_video) + np.arange(padded_B, dtype=np.int32)
        return numbers, filled_up(condition, padded_B)
