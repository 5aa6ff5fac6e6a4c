"""The clips that a trained model makes: new ones, and reconstructions of real ones.

Dimension key: N, B clips, n frames of each, K key frames, H, W frame size, C colours.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from glober_jax.data.clips import ClipSpec
from glober_jax.errors import UserError
from glober_jax.evaluation.clip_sets import ClipSet
from glober_jax.evaluation.protocols import Protocol
from glober_jax.experiment import Experiment
from glober_jax.pretrained import load_model
from glober_jax.sampling.glober import Glober
from glober_jax.sampling.options import SamplingOptions
from glober_jax.training.checkpoint import Which


class TrainedModel(NamedTuple):
    """A model, and all that decides what it makes besides conditions and places, for JSON."""

    glober: Glober
    workdir: epath.PathLike
    identity: dict[str, Any]


def load_trained(
    experiment: Experiment,
    workdir: epath.PathLike,
    options: SamplingOptions,
    mesh: Mesh,
    checkpoint: Which = "newest",
) -> TrainedModel:
    """See `pretrained.load_model`."""
    glober = load_model(experiment, workdir, options, mesh, checkpoint)
    saved = {
        name: (epath.Path(workdir).resolve() / name / str(step)).stat().mtime
        for name, step in glober.trained_steps.items()
    }
    identity = {
        "workdir": str(workdir),
        "steps": glober.trained_steps,
        "saved": saved,
        "sampling": dataclasses.asdict(options),
        "jax": jax.__version__,
        "device": mesh.devices.flat[0].device_kind,
    }
    return TrainedModel(glober, workdir, identity)


def protocol_index(protocol: Protocol, clip: ClipSpec) -> np.ndarray:
    """Where in the model's clip the protocol's frames lie: float32 [n] in [0, 1).

    Frame i is i * protocol.stride frames of the real video after the first, and the model's clip is
    T * clip.stride of them long.

    Raises:
      UserError: the protocol's clips reach beyond the model's.
    """
    length = clip.num_frames * clip.stride
    if protocol.span > length:
        raise UserError(
            f"protocol {protocol.name} compares clips of {protocol.num_frames} frames, {length} of "
            f"which are a clip of this model: choose a protocol of clips within {length} frames, "
            f"or train with config.clip.num_frames={protocol.min_length // clip.stride}"
        )
    return (np.arange(protocol.num_frames) * protocol.stride / length).astype(np.float32)


def generated_clips(
    model: TrainedModel,
    index_n: np.ndarray,
    seed: int,
    first_video: int,
    num_clips: int,
    conditions: Callable[[int, int], np.ndarray],
    condition_identity: Any,
) -> ClipSet:
    """New clips of the videos numbered from `first_video` on.

    `conditions(first, count)` are what `ConditionTokens` takes, for clips of this set by number.
    """

    def read(first: int, count: int) -> np.ndarray:
        number = first_video + first
        wanted = conditions(first, count)
        features = model.glober.generate_globals(count, wanted, seed=seed, first_video=number)
        return model.glober.decode(features, index_n, seed=seed, first_video=number)

    identity = {
        "model": model.identity,
        "index": index_n.tolist(),
        "seed": seed,
        "first_video": first_video,
        "conditions": condition_identity,
    }
    return ClipSet("generated", identity, num_clips, read)


def reconstruction_pairs(model: TrainedModel, real: ClipSet, clip: ClipSpec, seed: int) -> ClipSet:
    """Clips encoded from their key frames and decoded in full, each beside the `real` one.

    Those are of the model's own shape: `clip`.
    """
    index_n = (np.arange(clip.num_frames) / clip.num_frames).astype(np.float32)

    def read(first: int, count: int) -> np.ndarray:
        frames = real.read(first, count)
        features = np.concatenate([model.glober.encode(clip_THWC) for clip_THWC in frames])
        made = model.glober.decode(features, index_n, seed=seed, first_video=first)
        return np.stack([made, frames], axis=1)

    identity = {"model": model.identity, "real": dict(real.identity), "seed": seed}
    return ClipSet("reconstructed", identity, real.num_clips, read)
