"""Files of weights as others publish them, with random numbers; and networks read from files."""

from collections.abc import Mapping

import jax
import numpy as np

from glober_jax.interop.into_workdir import read
from glober_jax.interop.network import Naming, Part, export_networks, match_networks
from glober_jax.interop.weights_file import Tensor
from glober_jax.models.networks import Networks, Params


def released_tensors(
    networks: Networks, name: str, naming: Naming, seed: int = 0
) -> dict[str, np.ndarray]:
    """Random float16 weights of a network under the names of `naming`, in torch's layouts."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: networks.init(name, jax.random.key(0)))
    params = jax.tree.map(lambda leaf: 0.3 * rng.standard_normal(leaf.shape), shapes)
    made = export_networks([Part(params, naming)])
    return {published: np.ascontiguousarray(array, np.float16) for published, array in made}


def import_networks(tensors: Mapping[str, Tensor], parts: Mapping[str, Part]) -> dict[str, Params]:
    """The networks of one file, by their names in `parts`; raises as `match_networks`."""
    return {name: read(found) for name, found in match_networks(tensors, parts).items()}


def import_network(tensors: Mapping[str, Tensor], shapes: Params, naming: Naming) -> Params:
    """`import_networks` of a file of one network."""
    return import_networks(tensors, {"": Part(shapes, naming)})[""]
