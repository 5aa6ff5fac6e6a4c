"""Conversion between published tensors and the parameters of our networks, in both directions.

A table of rewrites (`Naming`) maps our parameter paths to published names. Layouts follow from the
paths too, so another network needs only its own table: PyTorch's kernels are [outputs, inputs,
window], ours [window, inputs, outputs]; other parameters keep their axes, or have their channels
moved last.

Dimension key: O output and I input channels, T, y, x window, C channels.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import flax.traverse_util
import jax
import numpy as np

from glober_jax.errors import UserError
from glober_jax.interop.weights_file import StoredTensor, Tensor
from glober_jax.models.networks import Params

Rewrite = tuple[str, str | Callable[[re.Match[str]], str]]
Windows = tuple[tuple[str, tuple[int, ...]], ...]
# Removes the modules that our layers wrap; kernels and scales are called weights in PyTorch.
_LEAVES: tuple[Rewrite, ...] = (
    (r"(^|/)(?:taps/conv|conv|dense)/(kernel|bias)$", r"\1\2"),
    (r"(^|/)(?:kernel|scale)$", r"\1weight"),
)
_TYPES = {"float64", "float32", "float16", "bfloat16"}
_NAMES_SHOWN = 3
# Learned maps, which are stored channels first.
_LEARNED_MAPS = ("global_query", "order")


@dataclasses.dataclass(frozen=True)
class Naming:
    """The published names of one network's parameters.

    Attributes:
      title: of the release, for messages.
      rewrites: (pattern, replacement) pairs of `re.sub`, applied in turn to paths such as
        "encoder/level0_block0/norm_in/weight"; remaining slashes become dots.
      prefix: of all names.
      windows: (pattern of published names, window) of dense layers that are stored as convolutions;
        for writing only.
      leftovers: prefixes of tensors that are ignored, such as the loss's.
    """

    title: str
    rewrites: tuple[Rewrite, ...]
    prefix: str = ""
    windows: Windows = ()
    leftovers: tuple[str, ...] = ()

    def published(self, path: str) -> str:
        """The published name of our parameter at `path`, such as "conv_in/conv/kernel"."""
        for pattern, replacement in (*_LEAVES, *self.rewrites):
            path = re.sub(pattern, replacement, path)
        return self.prefix + path.replace("/", ".")

    def under(self, prefix: str) -> "Naming":
        """The names in a larger file that keeps the network under `prefix`."""
        leftovers = tuple(prefix + name for name in self.leftovers)
        return dataclasses.replace(self, prefix=prefix + self.prefix, leftovers=leftovers)

    def window(self, path: str) -> tuple[int, ...]:
        """The window of the dense layer at `path`, see `windows`; () for other parameters."""
        name = self.published(path)
        return next((size for pattern, size in self.windows if re.search(pattern, name)), ())


def numbered(pattern: str, replacement: str, number: Callable[..., int]) -> Rewrite:
    """A rewrite in whose replacement # stands for `number(*groups of the pattern)`."""

    def rewritten(found: re.Match[str]) -> str:
        return found.expand(replacement.replace("#", str(number(*map(int, found.groups())))))

    return pattern, rewritten


class Part(NamedTuple):
    """One network of a file: its parameters, or only their shapes for reading, and their names."""

    params: Params
    naming: Naming


def choose_naming(
    names: Collection[str], abstract_params: Params, namings: Sequence[Naming]
) -> Naming:
    """The naming with the most of the network's parameters in `names`; the first one of equals."""
    paths = _flatten(abstract_params)
    return max(namings, key=lambda naming: sum(naming.published(p) in names for p in paths))


def match_networks(
    tensors: Mapping[str, Tensor], parts: Mapping[str, Part]
) -> dict[str, dict[str, StoredTensor]]:
    """The parameters of a file by network and path: float32, in our layout, not read yet.

    Args:
      tensors: by published name, in PyTorch's layouts.
      parts: shapes and naming of each network that the file should hold, and no others.

    Raises `UserError` with all tensors that are missing, unexpected, or of another shape or type.
    """
    targets = {
        part.naming.published(path): (network, path, leaf.shape)
        for network, part in parts.items()
        for path, leaf in _flatten(part.params).items()
    }
    leftovers = tuple(name for part in parts.values() for name in part.naming.leftovers)
    present = {n for n in tensors if n in targets or not n.startswith(leftovers)}
    misshapen, untyped = [], []
    for name in sorted(present & targets.keys()):
        (network, path, shape), tensor = targets[name], tensors[name]
        # Of arrays that take no memory.
        if to_ours(path, np.broadcast_to(np.int8(0), tensor.shape), shape).shape != shape:
            window = parts[network].naming.window(path)
            wanted = to_published(path, np.broadcast_to(np.int8(0), shape), window).shape
            misshapen.append(f"{name} {list(tensor.shape)}, not {list(wanted)}")
        if str(tensor.dtype) not in _TYPES:
            untyped.append(f"{name} {tensor.dtype}")
    problems = {
        "missing": sorted(targets.keys() - present),
        "unexpected": sorted(present - targets.keys()),
        "of another shape": misshapen,
        "of a type that no weights have": untyped,
    }
    if any(problems.values()):
        title = next(iter(parts.values())).naming.title
        listed = "; ".join(_listed(kind, names) for kind, names in problems.items() if names)
        raise UserError(f"tensors named as in {title} do not fit the network: {listed}")

    def read(tensor: Tensor, path: str, shape: tuple[int, ...]) -> np.ndarray:
        return np.ascontiguousarray(to_ours(path, np.asarray(tensor), shape), np.float32)

    matched: dict[str, dict[str, StoredTensor]] = {network: {} for network in parts}
    for name, (network, path, shape) in targets.items():
        read_this = functools.partial(read, tensors[name], path, shape)
        matched[network][path] = StoredTensor(shape, "float32", read_this)
    return matched


def export_networks(parts: Sequence[Part]) -> Iterator[tuple[str, np.ndarray]]:
    """(published name, array in PyTorch's layout) of every parameter."""
    for params, naming in parts:
        for path, leaf in _flatten(params).items():
            published = to_published(path, np.asarray(leaf), naming.window(path))
            yield naming.published(path), published


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


def _is_temporal(path: str) -> bool:
    return "/taps/" in f"/{path}"


def _flatten(params: Params) -> dict[str, jax.ShapeDtypeStruct]:
    return flax.traverse_util.flatten_dict(params, sep="/")


def _listed(kind: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return f"{len(names)} {kind}: {', '.join(names[:_NAMES_SHOWN])}{more}"
