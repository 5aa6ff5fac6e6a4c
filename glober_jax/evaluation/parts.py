"""Losses of each part of a trained model on real clips: a section of a result.

codec           every frame through the frame codec and back
interpolated    the key frames' latents, interpolated linearly in time, through the codec
reconstruction  the clip through the encoder, its global feature and the decoder
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
    """Quality of every kind, scores against `real`, and motion beside it.

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
        kinds[kind] = scoring.quality(measures)
        for entry in kinds[kind].values():
            at_keys_K = np.take(entry["by_index"], key_positions_K)
            elsewhere = np.delete(entry["by_index"], key_positions_K)
            entry["at_keys"] = float(at_keys_K.mean())
            entry["elsewhere"] = float(elsewhere.mean()) if elsewhere.size else None
        if "logits" in measures:
            kinds[kind]["scores"] = scoring.video_scores([(real, measures)], ddof)
        kinds[kind]["motion"] = scoring.motion_scores(real, measures)
    return {"num_clips": len(real["difference"]), "kinds": kinds}
