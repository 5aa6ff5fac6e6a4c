"""Classifier-free guidance: predictions of several branches combined, in one network call.

The decoder has two directions. With g₀ the feature of zero key latents, its branches are
`full` = (domain tokens, g), `video` = (domain tokens, g₀), `domain` = (no domain tokens, g₀):

    p = p_domain + w_v (p_full - p_video) + w_d (p_full - p_domain)
      = (w_v + w_d) p_full - w_v p_video + (1 - w_d) p_domain

(3.10 of the published rules). w_v = 0 and w_d = 1 is no guidance: p_full alone. The generator has
one direction, from the unconditional to the conditional branch:

    p = p_without + w (p_with - p_without) = w p_with + (1 - w) p_without

Dimension key: N rows of the batch, K branches.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from glober_jax.diffusion.predictor import EVERYWHERE, Interval, Predict, Predictor

# Branch name -> its coefficient; branches whose coefficient is zero are left out, never computed.
Weights = Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class DecoderGuidance:
    """Scales of the decoder's two directions, and the noise levels where they are applied."""

    video_scale: float = 0.0
    domain_scale: float = 1.0
    interval: Interval = EVERYWHERE

    conditional: ClassVar[str] = "full"

    @property
    def weights(self) -> Weights:
        return _nonzero(
            full=self.video_scale + self.domain_scale,
            video=-self.video_scale,
            domain=1.0 - self.domain_scale,
        )


@dataclasses.dataclass(frozen=True)
class ConditionGuidance:
    """Scale of the generator's direction, and the noise levels where it is applied."""

    scale: float = 1.0
    interval: Interval = EVERYWHERE

    conditional: ClassVar[str] = "with"

    @property
    def weights(self) -> Weights:
        return _nonzero(**{"with": self.scale, "without": 1.0 - self.scale})


def combine(weights: Weights, predictions: Mapping[str, jax.Array]) -> jax.Array:
    """Σ weight * prediction over the branches."""
    return sum(weight * predictions[name] for name, weight in weights.items())


def guided_predictor(
    guidance: DecoderGuidance | ConditionGuidance,
    network: Callable[[jax.Array, jax.Array, Any], jax.Array],
    conditions: Mapping[str, Any],
) -> Predictor:
    """The network (x [rows, ...], t [rows], condition) under guidance.

    `conditions` holds the condition of each branch, a pytree of [N, ...], for all branches with a
    weight and the conditional one.
    """
    only = {guidance.conditional: 1.0}
    plain = _branches(only, network, conditions)
    if guidance.weights == only:
        return Predictor.everywhere(plain)
    guided = _branches(guidance.weights, network, conditions)
    return Predictor(guided, plain, guidance.interval)


def _branches(
    weights: Weights,
    network: Callable[[jax.Array, jax.Array, Any], jax.Array],
    conditions: Mapping[str, Any],
) -> Predict:
    """One network call on N K rows. The K branches of a row are neighbours, so that with sharded
    rows all of them stay on one device.
    """

    def interleave(*branches: jax.Array) -> jax.Array:
        return jnp.stack(branches, axis=1).reshape(-1, *branches[0].shape[1:])

    condition = jax.tree.map(interleave, *(conditions[name] for name in weights))

    def predict(x_t: jax.Array, t: jax.Array) -> jax.Array:
        rows = jnp.repeat(x_t, len(weights), axis=0)
        predictions = network(rows, jnp.full(rows.shape[:1], t), condition)
        predictions = predictions.reshape(-1, len(weights), *predictions.shape[1:])
        return combine(weights, {name: predictions[:, i] for i, name in enumerate(weights)})

    return predict


def _nonzero(**weights: float) -> Weights:
    return {name: weight for name, weight in weights.items() if weight != 0.0}
