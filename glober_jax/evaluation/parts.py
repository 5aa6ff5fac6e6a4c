"""A trained model taken apart: what each of its parts loses of real clips.

    codec           every frame through the frame codec and back
    interpolated    the key frames' latents, interpolated linearly in time, through the codec
    reconstruction  the clip through the encoder, its global feature and the decoder

What "codec" loses, no training of encoder and decoder brings back; "interpolated" sees the same key
frames as the encoder does, and knows nothing of motion.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from glober_jax.evaluation import scoring
from glober_jax.evaluation.measuring import Measures

KINDS = ("codec", "interpolated", "reconstruction")


def record(
    real: Measures, made: Mapping[str, Measures], key_positions_K: np.ndarray, ddof: int
) -> dict[str, Any]:
    """The section of a result: every kind's quality, scores against `real`, and motion beside it.

    Args:
      real: `logits`, where `made` has some, and measures of motion.
      made: of every kind what `measuring.pairs` measures, with or without `logits`.
      key_positions_K: places that the encoder sees.
      ddof: covariances divide by N - ddof.

    Raises:
      UserError: there are too few clips for an interval, or a feature is not finite.
    """
    kinds = {}
    for kind, measures in made.items():
        kinds[kind] = {
            name: entry | _by_place(np.array(entry["by_index"]), key_positions_K)
            for name, entry in scoring.quality(measures).items()
        }
        if "logits" in measures:
            kinds[kind]["scores"] = scoring.video_scores([(real, measures)], ddof)
        kinds[kind]["motion"] = scoring.motion_scores(real, measures)
    return {"num_clips": len(real["difference"]), "kinds": kinds}


def _by_place(means_T: np.ndarray, key_positions_K: np.ndarray) -> dict[str, float | None]:
    """Means over key places, and over all others where there are any."""
    others = np.delete(means_T, key_positions_K)
    return {
        "at_keys": float(means_T[key_positions_K].mean()),
        "elsewhere": float(others.mean()) if len(others) else None,
    }
