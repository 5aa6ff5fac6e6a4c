"""Files of arrays that the authors' release computed, and how close ours must come.

Keys: `sd/<published name>` weights, `in/...`, `out/...`, `mid/...` (inside a network), `grad/...`,
`gradnorm/...`, and `meta`, a JSON text with the constructor arguments. PyTorch's layouts.

Dimension key: C channels, which ours have last.
"""

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from glober_jax.interop.network import Part, export_networks
from glober_jax.models.networks import Params
from tests.interop.released import import_networks

# Relative L2 error of a network in float32, and of plain arithmetic.
NETWORK = 1e-4
ARITHMETIC = 1e-6


class Recording:
    """One file, read as it is asked for."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._arrays = np.load(file, allow_pickle=False)
        self.names = tuple(self._arrays.files)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def channels_last(self, name: str) -> np.ndarray:
        """[B, C, ...] as [B, ..., C]."""
        return np.moveaxis(self[name], 1, -1)

    def named(self, prefix: str) -> dict[str, np.ndarray]:
        """Every array whose name begins with `prefix`, without it."""
        return {n.removeprefix(prefix): self[n] for n in self.names if n.startswith(prefix)}

    @functools.cached_property
    def meta(self) -> dict[str, Any]:
        return json.loads(str(self["meta"]))

    @functools.cached_property
    def weights(self) -> dict[str, np.ndarray]:
        return self.named("sd/")


def converted(
    recording: Recording,
    parts: Mapping[str, Part],
    weights: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Params]:
    """The recorded weights, all of them (or `weights`), as parameters of these networks.

    Exported again they must be the recorded ones, in the same shapes.
    """
    tensors = recording.weights if weights is None else weights
    params = import_networks(tensors, parts)
    exported = export_networks([Part(params[name], part.naming) for name, part in parts.items()])
    for name, array in exported:
        np.testing.assert_array_equal(array, tensors[name], err_msg=name)
        assert array.shape == tensors[name].shape, name
    return params


def shapes_of(module: Any, *inputs: Any, method: str | None = None) -> Params:
    """Shapes of a module's parameters, without making any."""
    init: Callable[..., Any] = functools.partial(module.init, method=method)
    return jax.eval_shape(lambda: init(jax.random.key(0), *inputs)["params"])


def relative_error(out: Any, expected: np.ndarray) -> float:
    """‖out - expected‖ / ‖expected‖ over all elements, in float64."""
    expected = np.asarray(expected, np.float64)
    assert np.shape(out) == expected.shape
    return float(np.linalg.norm(np.asarray(out, np.float64) - expected) / np.linalg.norm(expected))
