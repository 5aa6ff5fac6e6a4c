"""A frame codec that was trained before: `config.codec.pretrained`.

"builtin:f4" is one that comes with the package, anything else a workdir in which `main` trained
one. Either has to have the sizes of `config.model.frame_codec`; frames may be of another size.
"""

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh
from safetensors import safe_open
from safetensors.numpy import save_file

from glober_jax import builtin
from glober_jax.builtin import PREFIX
from glober_jax.errors import UserError
from glober_jax.models.networks import Networks, Params
from glober_jax.training.restore import load_codec

_KEY = "config.codec.pretrained"


def load_pretrained_codec(networks: Networks, name: str, mesh: Mesh) -> Params:
    """{"frame_codec": parameters}, float32.

    Raises:
      UserError: no such codec, or one of other sizes.
    """
    if not name.startswith(PREFIX):
        if not epath.Path(name).exists():
            raise UserError(
                f"{_KEY}={name!r} is no folder; give a workdir in which a codec was trained, or "
                f"{PREFIX}{builtin.CODECS[0]}"
            )
        return load_codec(networks, name, mesh)[1]
    known = name.removeprefix(PREFIX)
    if known not in builtin.CODECS:
        choices = ", ".join(PREFIX + codec for codec in builtin.CODECS)
        raise UserError(f"{_KEY} is {name!r}; choose one of {choices}, or give a workdir")
    with safe_open(builtin.weights_file(known), framework="np") as stored:
        made_with = (stored.metadata() or {}).get("frame_codec", "")
        arrays = {path: stored.get_tensor(path) for path in stored.keys()}  # noqa: SIM118
    wanted = flax.traverse_util.flatten_dict(networks.shapes(("frame_codec",)), sep="/")
    here = {path.removeprefix("frame_codec/"): leaf.shape for path, leaf in wanted.items()}
    if here != {path: array.shape for path, array in arrays.items()}:
        raise UserError(
            f"{_KEY}={name} does not fit config.model.frame_codec; set that to {made_with}"
        )
    params = {path: jnp.asarray(array, jnp.float32) for path, array in arrays.items()}
    return {"frame_codec": flax.traverse_util.unflatten_dict(params, sep="/")}


def write_builtin(file: epath.PathLike, params: Params, made_with: str) -> None:
    """Writes {"frame_codec": parameters} as float16 with the config section they were made with."""
    flat = flax.traverse_util.flatten_dict(jax.device_get(params["frame_codec"]), sep="/")
    halved = {path: np.asarray(array, np.float16) for path, array in flat.items()}
    save_file(halved, file, metadata={"frame_codec": made_with})
