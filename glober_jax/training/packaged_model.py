"""Packaged models: "builtin:NAME" in place of a trained workdir.

A model is one safetensors file: averaged parameters (float16) and scales (float32) of the stages
`autoencoder` and `generator`, by their path in a checkpoint; config, class names and steps are
metadata. Its frame codec is the packaged one that the config names.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from glober_jax import builtin
from glober_jax.builtin import PREFIX
from glober_jax.errors import UserError
from glober_jax.models.networks import Params
from glober_jax.parallel.rules import tree_shardings

# Where a codec lies in a checkpoint of its stage; its own file leaves that out.
_CODEC = "ema/frame_codec/"


def is_packaged(workdir: epath.PathLike) -> bool:
    """Whether a workdir is the name of a packaged model."""
    return str(workdir).startswith(PREFIX)


def results_folder(workdir: epath.PathLike) -> epath.Path:
    """The folder for a model's outputs: its workdir, or `runs/NAME` for a packaged one."""
    name = str(workdir).removeprefix(PREFIX)
    return epath.Path("runs") / name if is_packaged(workdir) else epath.Path(workdir)


def read_metadata(workdir: epath.PathLike) -> dict[str, Any]:
    """{"config", "classes", "steps"} of a packaged model; `UserError` if there is none."""
    with safe_open(_file(workdir), framework="np") as stored:
        return {key: json.loads(value) for key, value in stored.metadata().items()}


def when_saved(workdir: epath.PathLike, stage: str, step: int) -> float | str:
    """When a checkpoint was written, seconds since 1970; of a packaged model its SHA-256."""
    if is_packaged(workdir):
        return hashlib.sha256(_file(workdir).read_bytes()).hexdigest()
    return (epath.Path(workdir).resolve() / stage / str(step)).stat().mtime


def refuse_packaged(workdir: epath.PathLike) -> None:
    """Raises `UserError` where a workdir to train in is the name of a packaged model."""
    if is_packaged(workdir):
        raise UserError(f"{workdir} is read-only: train with another --workdir, as runs/mine")


def read_packaged(
    workdir: epath.PathLike, stage: str, abstract: dict[str, Any], mesh: Mesh
) -> tuple[int, dict[str, Any]]:
    """(step, values) as `checkpoint.load_averaged` returns them; `UserError` if there are none."""
    metadata = read_metadata(workdir)
    step, file = metadata["steps"].get(stage, 0), _file(workdir)
    if stage == "codec":
        file = builtin.weights_file(metadata["config"]["codec"]["pretrained"].removeprefix(PREFIX))
    with safe_open(file, framework="np") as stored:

        def read(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct, sharding: Any) -> jax.Array:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            key = name.removeprefix(_CODEC) if stage == "codec" else f"{stage}/{name}"
            return jax.device_put(stored.get_tensor(key).astype(leaf.dtype), sharding)

        try:
            shardings = tree_shardings(abstract, mesh)
            return step, jax.tree_util.tree_map_with_path(read, abstract, shardings)
        except SafetensorError as error:
            raise UserError(f"{workdir} holds only what makes videos: {error}") from error


def write_packaged(
    file: epath.PathLike,
    config: dict[str, Any],
    classes: tuple[str, ...],
    stages: dict[str, tuple[int, dict[str, Any]]],
) -> None:
    """Writes a model: of each stage its step, and {"ema": ..., "constants": ...}."""
    tensors = {}
    for stage, (_, values) in stages.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(values):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            dtype = np.float16 if name.startswith("ema/") else np.float32
            tensors[f"{stage}/{name}"] = np.asarray(leaf, dtype)
    steps = {stage: step for stage, (step, _) in stages.items()}
    metadata = {"config": config, "classes": classes, "steps": steps}
    save_file(tensors, file, {key: json.dumps(value) for key, value in metadata.items()})


def write_builtin(file: epath.PathLike, params: Params, made_with: str) -> None:
    """Writes {"frame_codec": parameters} as float16 with the config section they were made with."""
    flat = flax.traverse_util.flatten_dict(jax.device_get(params["frame_codec"]), sep="/")
    halved = {path: np.asarray(array, np.float16) for path, array in flat.items()}
    save_file(halved, file, metadata={"frame_codec": made_with})


def _file(workdir: epath.PathLike) -> Path:
    name = str(workdir).removeprefix(PREFIX)
    if name not in builtin.MODELS:
        known = ", ".join(PREFIX + model for model in builtin.MODELS)
        raise UserError(f"{workdir} does not come with the package: choose one of {known}")
    return builtin.weights_file(name)
