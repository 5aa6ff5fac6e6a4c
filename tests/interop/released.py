"""Files of weights as others publish them, with random numbers."""

import jax
import numpy as np

from glober_jax.interop.network import Naming, Part, export_networks
from glober_jax.models.networks import Networks


def released_tensors(
    networks: Networks, name: str, naming: Naming, seed: int = 0
) -> dict[str, np.ndarray]:
    """Random float16 weights of a network under the names of `naming`, in torch's layouts."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: networks.init(name, jax.random.key(0)))
    params = jax.tree.map(lambda leaf: 0.3 * rng.standard_normal(leaf.shape), shapes)
    made = export_networks([Part(params, naming)])
    return {published: np.ascontiguousarray(array, np.float16) for published, array in made}
