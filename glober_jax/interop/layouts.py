"""Conversion between PyTorch's tensor layouts and ours, by the path of our parameter.

PyTorch's kernels are [outputs, inputs, window], ours [window, inputs, outputs]; other parameters
keep their axes, or have their channels moved last.

Dimension key: O output and I input channels, T, y, x window, C channels.
"""

import math

import numpy as np

# Learned maps, which are stored channels first.
_LEARNED_MAPS = ("global_query", "order")


def to_ours(path: str, tensor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A published tensor in the layout of our parameter at `path`.

    Kernels [O, I, ...] become [..., I, O]; where `shape` has fewer dimensions, as for a dense layer
    stored as a convolution, the window joins the inputs. A tensor of another size comes back in
    another shape than `shape`.
    """
    leaf = path.rsplit("/", 1)[-1]
    if leaf in _LEARNED_MAPS:
        squeezed = tensor.reshape(tensor.shape[max(tensor.ndim - len(shape), 0) :])
        return np.moveaxis(squeezed, 0, -1)
    if leaf != "kernel" or tensor.ndim < 2:
        return tensor
    if _is_temporal(path) and tensor.ndim == 5:
        kernel = tensor.transpose(3, 4, 2, 1, 0)  # y x T I O: our taps are stacked as inputs.
    else:
        kernel = tensor.transpose(*range(2, tensor.ndim), 1, 0)
    merged = (*kernel.shape[: len(shape) - 2], -1, kernel.shape[-1])
    return kernel.reshape(merged) if kernel.ndim > len(shape) else kernel


def to_published(path: str, array: np.ndarray, window: tuple[int, ...]) -> np.ndarray:
    """The inverse of `to_ours`; `window` is that of a dense layer stored as a convolution."""
    leaf = path.rsplit("/", 1)[-1]
    if leaf in _LEARNED_MAPS:
        moved = np.moveaxis(array, -1, 0)
        return moved[None] if leaf == "order" else moved
    if leaf != "kernel":
        return array
    if _is_temporal(path):
        height, width, inputs, outputs = array.shape
        taps = array.reshape(height, width, 3, inputs // 3, outputs)
        return taps.transpose(4, 3, 2, 0, 1)
    if window:
        inputs = array.shape[0] // math.prod(window)
        array = array.reshape(*window, inputs, array.shape[-1])
    return np.moveaxis(array, (-1, -2), (0, 1))


def our_shape(path: str, published: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of `to_ours` of a tensor of shape `published`."""
    return to_ours(path, np.broadcast_to(np.int8(0), published), shape).shape


def published_shape(path: str, shape: tuple[int, ...], window: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of `to_published` of an array of `shape`."""
    return to_published(path, np.broadcast_to(np.int8(0), shape), window).shape


def _is_temporal(path: str) -> bool:
    return "/taps/" in f"/{path}"
