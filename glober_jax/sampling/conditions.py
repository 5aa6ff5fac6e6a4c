"""Conditions of generated videos: classes or texts, in turn.

Dimension key: N videos, L tokens of a text, E their width.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Conditions(NamedTuple):
    """One condition per video.

    `values` are what `ConditionTokens` takes: labels int32 [N] (zeros without classes), or text
    embeddings float16 [N, L, E]. `names` are the class names or captions, none without either.
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
