"""Between tensors under published names and the parameters of our networks.

A network's published names are a table of rewrites (`Naming`) from our parameter paths; layouts
follow from those paths too (`layouts`), so a further network needs nothing but its own table. The
same table serves both directions.
"""

import dataclasses
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import numpy as np

from glober_jax.errors import UserError
from glober_jax.interop.layouts import published_shape, to_ours, to_published
from glober_jax.models.networks import Params

Rewrite = tuple[str, str | Callable[[re.Match[str]], str]]
# Our layers wrap one flax module each, theirs do not; and they call kernels and scales weights.
_LEAVES: tuple[Rewrite, ...] = (
    (r"(^|/)(?:taps/conv|conv|dense)/(kernel|bias)$", r"\1\2"),
    (r"(^|/)(?:kernel|scale)$", r"\1weight"),
)
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

    def window(self, name: str) -> tuple[int, ...]:
        """The window that the dense layer of this published name is stored with."""
        return next((size for pattern, size in self.windows if re.search(pattern, name)), ())


class Part(NamedTuple):
    """One network of a file: the shapes of its parameters (for writing: these), their names."""

    params: Params
    naming: Naming


def choose_naming(
    names: Collection[str], abstract_params: Params, namings: Sequence[Naming]
) -> Naming:
    """The naming that finds most of the network's parameters in `names`; the first if none does."""
    paths = _flatten(abstract_params)
    return max(namings, key=lambda naming: sum(naming.published(p) in names for p in paths))


def import_network(tensors: Mapping[str, Any], abstract_params: Params, naming: Naming) -> Params:
    """`import_networks` of a file that holds nothing but one network."""
    return import_networks(tensors, {"": Part(abstract_params, naming)})[""]


def import_networks(tensors: Mapping[str, Any], parts: Mapping[str, Part]) -> dict[str, Params]:
    """The parameters of the networks of one file, float32, by the names in `parts`.

    Args:
      tensors: arrays by published name, in PyTorch's layouts.
      parts: shapes and naming of each network that the file should hold, and no others.

    Raises:
      UserError: tensors are missing, nobody's, or of another shape; one message lists them all.
    """
    targets = {
        part.naming.published(path): (network, path, leaf.shape)
        for network, part in parts.items()
        for path, leaf in _flatten(part.params).items()
    }
    leftovers = tuple(name for part in parts.values() for name in part.naming.leftovers)
    present = {name for name in tensors if not name.startswith(leftovers)}
    found: dict[str, np.ndarray] = {}
    misshapen = []
    for name in sorted(present & targets.keys()):
        network, path, shape = targets[name]
        tensor = tensors[name]
        value = to_ours(path, tensor, shape)
        if value.shape != shape:
            expected = published_shape(path, shape, parts[network].naming.window(name))
            misshapen.append(f"{name} {list(tensor.shape)}, not {expected}")
        found[name] = np.ascontiguousarray(value, np.float32)
    problems = {
        "missing": sorted(targets.keys() - present),
        "unexpected": sorted(present - targets.keys()),
        "of another shape": misshapen,
    }
    if any(problems.values()):
        title = next(iter(parts.values())).naming.title
        listed = "; ".join(_listed(kind, names) for kind, names in problems.items() if names)
        raise UserError(f"tensors named as in {title} do not fit the network: {listed}")
    flat: dict[str, dict[str, np.ndarray]] = {network: {} for network in parts}
    for name, value in found.items():
        network, path, _ = targets[name]
        flat[network][path] = value
    return {
        network: flax.traverse_util.unflatten_dict(values, sep="/")
        for network, values in flat.items()
    }


def export_networks(parts: Sequence[Part]) -> Iterator[tuple[str, np.ndarray]]:
    """(published name, array in PyTorch's layout) of every parameter of these networks."""
    for params, naming in parts:
        for path, leaf in _flatten(params).items():
            name = naming.published(path)
            yield name, to_published(path, np.asarray(leaf), naming.window(name))


def _flatten(params: Params) -> dict[str, jax.ShapeDtypeStruct]:
    return flax.traverse_util.flatten_dict(params, sep="/")


def _listed(kind: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return f"{len(names)} {kind}: {', '.join(names[:_NAMES_SHOWN])}{more}"
