"""Classifier-free guidance: how several predictions become one.

The decoder has two directions. With g₀ the feature of zero key latents, its branches are
`full` = (domain tokens, g), `video` = (domain tokens, g₀), `domain` = (no domain tokens, g₀):

    p = p_domain + w_v (p_full - p_video) + w_d (p_full - p_domain)
      = (w_v + w_d) p_full - w_v p_video + (1 - w_d) p_domain

(3.10 of the published rules). w_v = 0 and w_d = 1 is no guidance: p_full alone.
"""

import dataclasses

import jax


@dataclasses.dataclass(frozen=True)
class DecoderGuidance:
    """Scales of the two directions. Branches whose coefficient is zero are never computed."""

    video_scale: float = 0.0
    domain_scale: float = 1.0

    @property
    def coefficients(self) -> dict[str, float]:
        """Coefficient of each branch that takes part, keyed `full`, `video`, `domain`."""
        weights = {
            "full": self.video_scale + self.domain_scale,
            "video": -self.video_scale,
            "domain": 1.0 - self.domain_scale,
        }
        return {branch: weight for branch, weight in weights.items() if weight != 0.0}

    def combine(self, predictions: dict[str, jax.Array]) -> jax.Array:
        """Σ coefficient * prediction over the branches."""
        return sum(weight * predictions[name] for name, weight in self.coefficients.items())


def combine_conditional(
    conditional: jax.Array, unconditional: jax.Array, scale: float
) -> jax.Array:
    """The generator's two-branch rule: p_u + scale (p_c - p_u)."""
    return unconditional + scale * (conditional - unconditional)
