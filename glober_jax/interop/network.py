"""From tensors under published names to the parameters of one of our networks.

A network's published names are a table of rewrites (`Naming`) from our parameter paths; layouts
follow from shapes alone, so a further network needs nothing but its own table.

Dimension key: I input and O output channels, ... the window of a convolution.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Collection, Mapping, Sequence

import flax.traverse_util
import jax
import numpy as np

from glober_jax.errors import UserError
from glober_jax.interop.stored_tensor import StoredTensor, Tensor
from glober_jax.models.networks import Params

Rewrite = tuple[str, str | Callable[[re.Match[str]], str]]
# Our layers wrap one flax module each, theirs do not; and they call kernels and scales weights.
_LEAVES: tuple[Rewrite, ...] = (
    (r"/(?:conv|dense)/(kernel|bias)$", r"/\1"),
    (r"/(?:kernel|scale)$", "/weight"),
)
_TYPES = {"float64", "float32", "float16", "bfloat16"}
_NAMES_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Naming:
    """The names that someone's files use for the parameters of one network.

    `rewrites` are (pattern, replacement) pairs of `re.sub`, applied in turn to a parameter's path
    such as "encoder/level0_block0/norm_in/weight" (wrappers gone, leaves "weight" or "bias");
    slashes that remain become dots. Tensors whose names begin with one of `leftovers` belong to
    the training of the published network and are passed over.
    """

    title: str
    rewrites: tuple[Rewrite, ...]
    leftovers: tuple[str, ...] = ()

    def published(self, path: str) -> str:
        """The published name of our parameter at `path`, its keys joined by slashes."""
        for pattern, replacement in (*_LEAVES, *self.rewrites):
            path = re.sub(pattern, replacement, path)
        return path.replace("/", ".")


def choose_naming(
    names: Collection[str], abstract_params: Params, namings: Sequence[Naming]
) -> Naming:
    """The naming that finds most of the network's parameters in `names`; the first if none does."""
    paths = _flatten(abstract_params)
    return max(namings, key=lambda naming: sum(naming.published(p) in names for p in paths))


def import_network(
    tensors: Mapping[str, Tensor], abstract_params: Params, naming: Naming
) -> Params:
    """The parameters of a network, float32, from tensors under the names of `naming`.

    Args:
      tensors: convolutions [O, I, ...], dense layers [O, I] or [O, I, 1, ...], vectors [C].
      abstract_params: shapes of the network's parameters.

    Raises:
      UserError: tensors are missing, nobody's, or of another shape or type; one message lists them
        all.
    """
    flat = {
        path: np.asarray(tensor)
        for path, tensor in match_network(tensors, abstract_params, naming).items()
    }
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def match_network(
    tensors: Mapping[str, Tensor], abstract_params: Params, naming: Naming
) -> dict[str, StoredTensor]:
    """The parameters of `import_network` by path, in our layout and not read yet."""
    targets = {
        naming.published(path): (path, leaf.shape)
        for path, leaf in _flatten(abstract_params).items()
    }
    present = {name for name in tensors if not name.startswith(naming.leftovers)}
    found = sorted(present & targets.keys())
    problems = {
        "missing": sorted(targets.keys() - present),
        "unexpected": sorted(present - targets.keys()),
        "of another shape": [
            f"{name} {list(tensors[name].shape)}, not {_published_shape(targets[name][1])}"
            for name in found
            if _our_shape(tensors[name].shape, len(targets[name][1])) != targets[name][1]
        ],
        "of a type that no weights have": [
            f"{name} {tensors[name].dtype}"
            for name in found
            if str(tensors[name].dtype) not in _TYPES
        ],
    }
    if any(problems.values()):
        listed = "; ".join(_listed(kind, names) for kind, names in problems.items() if names)
        raise UserError(f"tensors named as in {naming.title} do not fit the network: {listed}")
    return {
        path: StoredTensor(
            shape, "float32", functools.partial(_in_our_layout, tensors[name], shape)
        )
        for name, (path, shape) in targets.items()
    }


def _flatten(params: Params) -> dict[str, jax.ShapeDtypeStruct]:
    return flax.traverse_util.flatten_dict(params, sep="/")


def _our_shape(shape: tuple[int, ...], dimensions: int) -> tuple[int, ...]:
    """[O, I, ...] -> [..., I, O] with as many dimensions as ours; vectors stay."""
    if len(shape) < 2:
        return shape
    # A dense layer may be stored as a convolution with a window of one pixel.
    if dimensions == 2 and set(shape[2:]) <= {1}:
        shape = shape[:2]
    return (*shape[2:], shape[1], shape[0])


def _in_our_layout(tensor: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    values = np.asarray(tensor)
    if values.ndim >= 2:
        values = values.transpose(*range(2, values.ndim), 1, 0)
    return np.ascontiguousarray(values.reshape(shape), np.float32)


def _published_shape(shape: tuple[int, ...]) -> list[int]:
    return list(shape) if len(shape) < 2 else [shape[-1], shape[-2], *shape[:-2]]


def _listed(kind: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return f"{len(names)} {kind}: {', '.join(names[:_NAMES_SHOWN])}{more}"
