"""From a workdir to models: config, averaged parameters and scales of each stage."""

import io
import json
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh
from safetensors import safe_open

from glober_jax import builtin, media
from glober_jax.builtin import PREFIX
from glober_jax.errors import UserError
from glober_jax.models.latents import ChannelScale
from glober_jax.models.networks import AUTOENCODER, Networks, Params
from glober_jax.sampling.decode import FrameModel
from glober_jax.sampling.generate import FeatureModel
from glober_jax.training import autoencoder, codec, generator
from glober_jax.training.checkpoint import Which, load_averaged
from glober_jax.training.packaged_model import is_packaged, read_metadata

CONFIG_FILE = "config.json"
CLASSES_FILE = "classes.json"
TEXTS_FILE = "texts.npz"
_PRETRAINED = "config.codec.pretrained"


class ExampleTexts(NamedTuple):
    """Captions of held-out clips, embeddings float16 [N, L, E], and the digest of their encoder."""

    captions: tuple[str, ...]
    texts: np.ndarray
    encoder: str


def write_config(workdir: epath.Path, config: dict[str, Any]) -> None:
    """Writes the config of a workdir as JSON."""
    media.write_file(workdir / CONFIG_FILE, json.dumps(config, indent=2).encode())


def load_config(workdir: epath.PathLike) -> dict[str, Any]:
    """The config of a workdir, for `config.parse`; `UserError` if nothing was trained there."""
    if is_packaged(workdir):
        return read_metadata(workdir)["config"]
    file = epath.Path(workdir) / CONFIG_FILE
    if not file.exists():
        raise UserError(
            f"{workdir} holds no {CONFIG_FILE}, so nothing was trained there; train with "
            f"python -m glober_jax.main --config=configs/quickstart.py --workdir={workdir}"
        )
    return json.loads(file.read_text())


def load_classes(workdir: epath.PathLike) -> tuple[str, ...]:
    """Class names of the data set a workdir was trained on; () where it has none."""
    if is_packaged(workdir):
        return tuple(read_metadata(workdir)["classes"])
    file = epath.Path(workdir) / CLASSES_FILE
    return tuple(json.loads(file.read_text())) if file.exists() else ()


def write_texts(workdir: epath.Path, examples: ExampleTexts) -> None:
    """Writes the default captions of `sample`."""
    buffer = io.BytesIO()
    np.savez(buffer, **examples._asdict())
    media.write_file(workdir / TEXTS_FILE, buffer.getvalue())


def load_texts(workdir: epath.PathLike) -> ExampleTexts | None:
    """What `write_texts` wrote; None if the workdir was not trained on texts."""
    file = epath.Path(workdir) / TEXTS_FILE
    if not file.exists():
        return None
    with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as stored:
        captions = tuple(stored["captions"].tolist())
        return ExampleTexts(captions, stored["texts"], str(stored["encoder"]))


def constant_shapes(networks: Networks, stage: str) -> dict[str, Any]:
    """Shapes of the constants that a stage measures when it begins."""
    shapes = {
        autoencoder.NAME: {"latent_scale": networks.latent_shape},
        generator.NAME: {"feature_scale": networks.global_shape},
    }
    return {
        name: ChannelScale(*[jax.ShapeDtypeStruct(shape[-1:], jnp.float32)] * 2)
        for name, shape in shapes.get(stage, {}).items()
    }


def load_codec(networks: Networks, workdir: epath.PathLike, mesh: Mesh) -> tuple[int, Params]:
    """(step, {"frame_codec": parameters})."""
    step, loaded = _load(networks, workdir, codec.NAME, codec.AVERAGED, mesh)
    return step, loaded["ema"]


def load_pretrained_codec(networks: Networks, name: str, mesh: Mesh) -> Params:
    """{"frame_codec": float32 parameters} of `config.codec.pretrained`, for frames of any size.

    `name` is "builtin:f4", packaged, or a workdir with a trained codec. Raises `UserError` if there
    is none, or if its architecture is not that of `networks`.
    """
    if not name.startswith(PREFIX):
        if not epath.Path(name).exists():
            raise UserError(
                f"{_PRETRAINED}={name!r} is no folder; give a workdir in which a codec was "
                f"trained, or {PREFIX}{builtin.CODECS[0]}"
            )
        return load_codec(networks, name, mesh)[1]
    known = name.removeprefix(PREFIX)
    if known not in builtin.CODECS:
        choices = ", ".join(PREFIX + codec for codec in builtin.CODECS)
        raise UserError(f"{_PRETRAINED} is {name!r}; choose one of {choices}, or give a workdir")
    with safe_open(builtin.weights_file(known), framework="np") as stored:
        made_with = (stored.metadata() or {}).get("frame_codec", "")
        arrays = {path: stored.get_tensor(path) for path in stored.keys()}  # noqa: SIM118
    wanted = networks.shapes(("frame_codec",))["frame_codec"]
    wanted = flax.traverse_util.flatten_dict(wanted, sep="/")
    there, here = ({path: x.shape for path, x in tree.items()} for tree in (arrays, wanted))
    if there != here:
        raise UserError(
            f"{_PRETRAINED}={name} does not fit config.model.frame_codec; set that to {made_with}"
        )
    params = {path: jnp.asarray(array, jnp.float32) for path, array in arrays.items()}
    return {"frame_codec": flax.traverse_util.unflatten_dict(params, sep="/")}


def load_frame_model(
    networks: Networks, workdir: epath.PathLike, mesh: Mesh
) -> tuple[int, FrameModel]:
    """(step of the autoencoder, codec and autoencoder), of the newest checkpoints."""
    _, codec_params = load_codec(networks, workdir, mesh)
    step, loaded = _load(networks, workdir, autoencoder.NAME, AUTOENCODER, mesh)
    scale = ChannelScale(*loaded["constants"]["latent_scale"])
    return step, FrameModel(codec_params | loaded["ema"], scale)


def load_feature_model(
    networks: Networks, workdir: epath.PathLike, mesh: Mesh, which: Which = "newest"
) -> tuple[int, FeatureModel]:
    """(generator step, generator and condition) of the newest or the best checkpoint."""
    step, loaded = _load(networks, workdir, generator.NAME, generator.NETWORKS, mesh, which)
    return step, FeatureModel(loaded["ema"], ChannelScale(*loaded["constants"]["feature_scale"]))


def load_network(
    networks: Networks, workdir: epath.PathLike, stage: str, name: str, mesh: Mesh
) -> Params:
    """{name: parameters} of one network in the newest checkpoint, not averaged."""
    _, loaded = load_averaged(workdir, stage, {"params": networks.shapes((name,))}, mesh)
    return loaded["params"]


def _load(
    networks: Networks,
    workdir: epath.PathLike,
    stage: str,
    names: tuple[str, ...],
    mesh: Mesh,
    which: Which = "newest",
) -> tuple[int, dict[str, Any]]:
    abstract = {"ema": networks.shapes(names), "constants": constant_shapes(networks, stage)}
    return load_averaged(workdir, stage, abstract, mesh, which)
