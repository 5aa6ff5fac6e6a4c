"""Exports a model's sampler as one StableHLO program that runs without this package.

Noise -> global features -> frames, for fixed shapes and several platforms, by `jax.export`. Weights
are inputs, in a file of their own.

Dimension key: B videos, n frames of each, X, Y frame size, L tokens of a text, E their width.
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import flax.traverse_util
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from etils import epath
from tqdm import tqdm

from glober_jax import media
from glober_jax.errors import UserError
from glober_jax.models.latents import ChannelScale
from glober_jax.sampling.decode import FrameModel, decode_frames
from glober_jax.sampling.generate import FeatureModel, generate_features
from glober_jax.sampling.glober import Glober
from glober_jax.versions import versions

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
PROGRAM_FILE, WEIGHTS_FILE, RECORD_FILE = "sampler.stablehlo", "weights.safetensors", "sampler.json"


def check_platforms(platforms: Sequence[str]) -> None:
    """Raises `UserError` for unknown platforms, or none."""
    if not platforms or not set(platforms) <= set(PLATFORMS):
        raise UserError(f"--platforms={','.join(platforms)}: choose from {', '.join(PLATFORMS)}")


def write_sampler(
    model: Glober,
    output: epath.Path,
    *,
    num_videos: int,
    num_frames: int,
    platforms: Sequence[str],
    about: dict[str, Any],
) -> str:
    """Writes the three files of a sampler of B = `num_videos`, n = `num_frames`; describes them.

    All B n frames are denoised at once; longer videos take several calls with other indices.
    `about` is added to the record. Raises `UserError` where `output` cannot be written.
    """
    inputs = (
        jax.ShapeDtypeStruct((), jnp.uint32),
        model.networks.condition.input(num_videos),
        jax.ShapeDtypeStruct((num_videos, num_frames), jnp.float32),
    )
    program = jax.jit(_sampler(model))
    weights = _flat_weights(model.frame_model, model.feature_model)
    _say("tracing the sampler")
    read = jax.export.export(program)(weights, *inputs).module_kept_var_idx
    # Not those of the codec's encoder. Arguments are numbered as leaves: a dict's, sorted by name.
    weights = {name: weights[name] for i, name in enumerate(sorted(weights)) if i in read}
    _say(f"lowering it for {', '.join(platforms)}")
    exported = jax.export.export(program, platforms=platforms)(weights, *inputs)
    record = _record(model, exported, inputs, about)
    parameters = sum(array.size for array in weights.values())
    lines = []
    for name, content, note in (
        (
            WEIGHTS_FILE,
            safetensors.numpy.save(weights),
            f"{len(weights)} arrays, {parameters:,} numbers",
        ),
        (PROGRAM_FILE, bytes(exported.serialize()), f"for {', '.join(exported.platforms)}"),
        (
            RECORD_FILE,
            json.dumps(record, indent=2).encode(),
            "shapes, and how to load it without glober_jax",
        ),
    ):
        _say(f"writing {name}")
        media.write_file(output / name, content)
        lines.append(f"{output / name}: {tqdm.format_sizeof(len(content))}B, {note}")
    return "\n".join(lines)


def _sampler(model: Glober) -> Callable[..., jax.Array]:
    """`Glober.decode(Glober.generate_globals(...))` of videos 0 to B - 1, by flat weights.

    One program may round differently than two: on a CPU one pixel value in 50 000 differed, by one
    grey level.
    """
    generating = model.networks, model.generator_diffusion, model.options
    decoding = model.networks, model.diffusion, model.options

    def sample(
        weights: dict[str, jax.Array], seed: jax.Array, condition: jax.Array, index_Bn: jax.Array
    ) -> jax.Array:
        frame_model, feature_model = _models(weights)
        video_B = jnp.arange(len(index_Bn), dtype=jnp.int32)
        features = generate_features(*generating, feature_model, video_B, condition, seed)
        return decode_frames(*decoding, frame_model, features, video_B, index_Bn, seed)

    return sample


def _flat_weights(frame_model: FrameModel, feature_model: FeatureModel) -> dict[str, np.ndarray]:
    """Parameters and scales on the host by name, such as unet.conv_in.conv.kernel."""
    tree = {
        **frame_model.params,
        **feature_model.params,
        "latent_scale": frame_model.latent_scale._asdict(),
        "feature_scale": feature_model.feature_scale._asdict(),
    }
    return jax.tree.map(np.asarray, flax.traverse_util.flatten_dict(tree, sep="."))


def _models(weights: dict[str, jax.Array]) -> tuple[FrameModel, FeatureModel]:
    """The inverse of `_flat_weights`."""
    tree = flax.traverse_util.unflatten_dict(weights, sep=".")
    latent_scale, feature_scale = (
        ChannelScale(**tree.pop(name)) for name in ("latent_scale", "feature_scale")
    )
    # A condition without parameters has no names.
    params = {"condition": {}} | tree
    return FrameModel(params, latent_scale), FeatureModel(params, feature_scale)


def _record(
    model: Glober,
    exported: jax.export.Exported,
    inputs: Sequence[jax.ShapeDtypeStruct],
    about: dict[str, Any],
) -> dict[str, Any]:
    """The record file; `recipe` are lines of Python that sample, after `imports`."""
    network, frames = model.networks.condition, exported.out_avals[0]
    meanings = {
        "seed": "same seed, same videos; up to 2**32 - 1",
        "condition": {
            "class": f"a class of each video, 0 to {network.num_classes - 1}",
            "text": "token embeddings of each video's text, by text_encoder",
            "unconditional": "unused",
        }[network.kind],
        "index": "place of each frame in its clip: 0 is the first frame, 1 the end",
    }
    _, condition, index = inputs
    videos, count = index.shape
    described = {
        name: {"shape": given.shape, "dtype": given.dtype.name, "meaning": meaning}
        for (name, meaning), given in zip(meanings.items(), inputs, strict=True)
    }
    return {
        "inputs": {"weights": f"the arrays of {WEIGHTS_FILE} by name", **described},
        "output": {"shape": frames.shape, "dtype": frames.dtype.name, "meaning": "RGB frames"},
        "tolerance": "one grey level from glober_jax on the same platform",
        "platforms": exported.platforms,
        **about,
        "sampling": dataclasses.asdict(model.options),
        "requirements": "python -m pip install jax numpy safetensors flatbuffers",
        "imports": "import jax, jax.export, numpy, safetensors.numpy",
        "recipe": [
            f"program = jax.export.deserialize(open({PROGRAM_FILE!r}, 'rb').read())",
            f"weights = safetensors.numpy.load_file({WEIGHTS_FILE!r})",
            "frames = jax.jit(program.call)(weights, numpy.uint32(0), "
            f"numpy.zeros({condition.shape}, {condition.dtype.name!r}), "
            f"numpy.tile(numpy.arange({count}, dtype='float32') / {count}, ({videos}, 1)))",
        ],
        "versions": versions() | {"safetensors": metadata.version("safetensors")},
        "calling_convention_version": exported.calling_convention_version,
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
