"""Between tensors under published names and the parameters of our networks.

A network's published names are a table of rewrites (`Naming`) from our parameter paths; layouts
follow from those paths too (`layouts`), so a further network needs nothing but its own table. The
same table serves both directions.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import flax.traverse_util
import jax
import numpy as np

from glober_jax.errors import UserError
from glober_jax.interop.layouts import our_shape, published_shape, to_ours, to_published
from glober_jax.interop.stored_tensor import StoredTensor, Tensor
from glober_jax.models.networks import Params

Rewrite = tuple[str, str | Callable[[re.Match[str]], str]]
# Our layers wrap one flax module each, theirs do not; and they call kernels and scales weights.
_LEAVES: tuple[Rewrite, ...] = (
    (r"(^|/)(?:taps/conv|conv|dense)/(kernel|bias)$", r"\1\2"),
    (r"(^|/)(?:kernel|scale)$", r"\1weight"),
)
_TYPES = {"float64", "float32", "float16", "bfloat16"}
_NAMES_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Naming:
    """The names that someone's files use for the parameters of one network.

    `rewrites` are (pattern, replacement) pairs of `re.sub`, applied in turn to a parameter's path
    such as "encoder/level0_block0/norm_in/weight" (wrappers gone, leaves "weight" or "bias");
    slashes that remain become dots, and `prefix` comes in front. Dense layers whose published
    name matches a pattern of `windows` are stored as convolutions with that window, which matters
    for writing only. Tensors whose names begin with one of `leftovers` belong to the training of
    the published network and are passed over.
    """

    title: str
    rewrites: tuple[Rewrite, ...]
    prefix: str = ""
    windows: tuple[tuple[str, tuple[int, ...]], ...] = ()
    leftovers: tuple[str, ...] = ()

    def published(self, path: str) -> str:
        """The published name of our parameter at `path`, its keys joined by slashes."""
        for pattern, replacement in (*_LEAVES, *self.rewrites):
            path = re.sub(pattern, replacement, path)
        return self.prefix + path.replace("/", ".")

    def under(self, prefix: str) -> "Naming":
        """The same network as a part of a larger file, all of its names behind `prefix`."""
        leftovers = tuple(prefix + name for name in self.leftovers)
        return dataclasses.replace(self, prefix=prefix + self.prefix, leftovers=leftovers)

    def window(self, path: str) -> tuple[int, ...]:
        """The window that the dense layer at `path` is stored with; () for other parameters."""
        name = self.published(path)
        return next((size for pattern, size in self.windows if re.search(pattern, name)), ())


def numbered(pattern: str, replacement: str, number: Callable[..., int]) -> Rewrite:
    """A rewrite whose replacement has `number(*groups of the pattern)` in place of #."""

    def rewritten(found: re.Match[str]) -> str:
        return found.expand(replacement.replace("#", str(number(*map(int, found.groups())))))

    return pattern, rewritten


class Part(NamedTuple):
    """One network of a file: its parameters, or for reading only their shapes, and their names."""

    params: Params
    naming: Naming


def choose_naming(
    names: Collection[str], abstract_params: Params, namings: Sequence[Naming]
) -> Naming:
    """The naming that finds most of the network's parameters in `names`; the first if none does."""
    paths = _flatten(abstract_params)
    return max(namings, key=lambda naming: sum(naming.published(p) in names for p in paths))


def import_network(
    tensors: Mapping[str, Tensor], abstract_params: Params, naming: Naming
) -> Params:
    """`import_networks` of a file that holds one network and no others."""
    return import_networks(tensors, {"": Part(abstract_params, naming)})[""]


def import_networks(tensors: Mapping[str, Tensor], parts: Mapping[str, Part]) -> dict[str, Params]:
    """The parameters of the networks of one file, float32, by their names in `parts`.

    Args:
      tensors: by published name, in PyTorch's layouts.
      parts: shapes and naming of each network that the file should hold, and no others.

    Raises:
      UserError: tensors are missing, nobody's, or of another shape or type; one message lists them
        all.
    """
    return {
        network: flax.traverse_util.unflatten_dict(
            {path: np.asarray(tensor) for path, tensor in found.items()}, sep="/"
        )
        for network, found in match_networks(tensors, parts).items()
    }


def match_networks(
    tensors: Mapping[str, Tensor], parts: Mapping[str, Part]
) -> dict[str, dict[str, StoredTensor]]:
    """The parameters of `import_networks` by network and path, in our layout, not read yet."""
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
        if our_shape(path, tensor.shape, shape) != shape:
            wanted = published_shape(path, shape, parts[network].naming.window(path))
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
    matched: dict[str, dict[str, StoredTensor]] = {network: {} for network in parts}
    for name, (network, path, shape) in targets.items():
        read = functools.partial(_in_our_layout, tensors[name], path, shape)
        matched[network][path] = StoredTensor(shape, "float32", read)
    return matched


def export_networks(parts: Sequence[Part]) -> Iterator[tuple[str, np.ndarray]]:
    """(published name, array in PyTorch's layout) of every parameter of these networks."""
    for params, naming in parts:
        for path, leaf in _flatten(params).items():
            published = to_published(path, np.asarray(leaf), naming.window(path))
            yield naming.published(path), published


def _in_our_layout(tensor: Tensor, path: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.ascontiguousarray(to_ours(path, np.asarray(tensor), shape), np.float32)


def _flatten(params: Params) -> dict[str, jax.ShapeDtypeStruct]:
    return flax.traverse_util.flatten_dict(params, sep="/")


def _listed(kind: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return f"{len(names)} {kind}: {', '.join(names[:_NAMES_SHOWN])}{more}"
