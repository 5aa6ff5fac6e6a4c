"""Reads the parameters of networks from published tensors."""

from collections.abc import Mapping

from glober_jax.interop.into_workdir import read
from glober_jax.interop.network import Naming, Part, match_networks
from glober_jax.interop.stored_tensor import Tensor
from glober_jax.models.networks import Params


def import_networks(tensors: Mapping[str, Tensor], parts: Mapping[str, Part]) -> dict[str, Params]:
    """The networks of one file, by their names in `parts`; raises as `match_networks`."""
    return {name: read(found) for name, found in match_networks(tensors, parts).items()}


def import_network(tensors: Mapping[str, Tensor], shapes: Params, naming: Naming) -> Params:
    """`import_networks` of a file of one network."""
    return import_networks(tensors, {"": Part(shapes, naming)})[""]
