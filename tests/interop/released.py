"""Files of weights as others publish them, with random numbers."""

import flax.traverse_util
import jax
import numpy as np

from glober_jax.interop.network import Naming
from glober_jax.models.networks import Networks


def released_tensors(
    networks: Networks, name: str, naming: Naming, seed: int = 0
) -> dict[str, np.ndarray]:
    """Random float16 weights of a network under the names of `naming`, in torch's layouts."""
    shapes = jax.eval_shape(lambda: networks.init(name, jax.random.key(0)))
    rng = np.random.default_rng(seed)
    made = {}
    for path, leaf in flax.traverse_util.flatten_dict(shapes, sep="/").items():
        order = [*leaf.shape[:-3:-1], *leaf.shape[:-2]]
        made[naming.published(path)] = (0.3 * rng.standard_normal(order)).astype(np.float16)
    return made
