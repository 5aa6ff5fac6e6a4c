"""Initial parameters of networks, `WORKDIR/initial/<network>.safetensors`, written by `convert`.

Float32 arrays by parameter path ("conv_in/conv/kernel"). A stage without checkpoint starts from
them, averages included.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh, NamedSharding
from safetensors import SafetensorError
from safetensors.numpy import load, save

from glober_jax import media
from glober_jax.errors import UserError
from glober_jax.models.networks import Networks
from glober_jax.parallel.rules import tree_shardings
from glober_jax.progress import say
from glober_jax.training.checkpoint_io import difference
from glober_jax.training.state import TrainState


def pretrained_file(workdir: epath.PathLike, network: str) -> epath.Path:
    """Where a network's initial parameters are, or would be."""
    return epath.Path(workdir) / "initial" / f"{network}.safetensors"


def write_pretrained(
    workdir: epath.PathLike, network: str, arrays: Mapping[str, np.typing.ArrayLike]
) -> epath.Path:
    """Writes a network's parameters by path, atomically, and returns the file."""
    file = pretrained_file(workdir, network)
    float32 = {path: np.ascontiguousarray(array, np.float32) for path, array in arrays.items()}
    media.write_file(file, save(float32))
    return file


def check_pretrained(workdir: epath.PathLike, networks: Networks, names: Sequence[str]) -> None:
    """Raises `UserError` if the file of one of these networks is damaged or does not fit."""
    for name in names:
        if (file := pretrained_file(workdir, name)).exists():
            _read(file, _flatten(networks.shapes((name,))[name]))


def init_from_pretrained(
    state: TrainState, stage: str, workdir: epath.PathLike, mesh: Mesh
) -> TrainState:
    """`state` with parameters and averages of the networks that have a file."""
    there = [name for name in state.params if pretrained_file(workdir, name).exists()]
    if not there:
        return state

    def place(array: np.ndarray, sharding: NamedSharding) -> jax.Array:
        return jax.make_array_from_callback(array.shape, sharding, array.__getitem__)

    loaded = {}
    for name in there:
        arrays = _read(pretrained_file(workdir, name), _flatten(state.params[name]))
        tree = flax.traverse_util.unflatten_dict(arrays, sep="/")
        loaded[name] = jax.tree.map(place, tree, tree_shardings(tree, mesh))
    averaged = {name: jax.tree.map(jnp.copy, loaded[name]) for name in there if name in state.ema}
    if jax.process_index() == 0:
        folder = pretrained_file(workdir, there[0]).parent
        others = ", ".join(name for name in state.params if name not in there)
        fresh = f"; at initial values: {others}" if others else ""
        begin = f"{stage} starts with {', '.join(there)} from {folder}"
        say(f"{begin}{fresh}")
    return state.replace(params=state.params | loaded, ema=state.ema | averaged)


def _flatten(params: Any) -> dict[str, Any]:
    return flax.traverse_util.flatten_dict(params, sep="/")


def _read(file: epath.Path, wanted: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A file's arrays by path; refuses other paths or shapes than `wanted`."""
    try:
        arrays = load(file.read_bytes())
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{file} is cut off or damaged; convert again, or remove it to start without it"
        ) from error
    there, here = ({path: list(x.shape) for path, x in tree.items()} for tree in (arrays, wanted))
    if differing := difference(there, here):
        raise UserError(
            f"{file} was made with another config.model: {differing}; convert again with this "
            "config, or remove the file to start without it"
        )
    return arrays
