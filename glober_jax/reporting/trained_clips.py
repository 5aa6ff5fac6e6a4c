"""The clips that a trained model makes: new ones, and reconstructions of real ones.

Dimension key: N, B clips, n frames of each, K key frames, H, W frame size, C colours.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from glober_jax.data.clips import ClipSpec
from glober_jax.errors import UserError
from glober_jax.evaluation.clip_sets import ClipSet
from glober_jax.evaluation.protocols import Protocol
from glober_jax.experiment import Experiment
from glober_jax.sampling.decode import FrameModel, VideoSampler
from glober_jax.sampling.generate import FeatureModel, FeatureSampler
from glober_jax.sampling.options import SamplingOptions
from glober_jax.training import autoencoder, generator
from glober_jax.training.checkpoint import Which
from glober_jax.training.trained import load_feature_model, load_frame_model


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """Checkpoints of a workdir, and how to sample from them.

    `identity` is all that decides what they make besides conditions and places, for JSON.
    """

    workdir: epath.PathLike
    identity: dict[str, Any]
    steps: dict[str, int]
    options: SamplingOptions
    frame_model: FrameModel
    feature_model: FeatureModel
    frames: VideoSampler
    features: FeatureSampler


def load_model(
    experiment: Experiment,
    workdir: epath.PathLike,
    options: SamplingOptions,
    mesh: Mesh,
    which: Which = "newest",
) -> TrainedModel:
    """Loads the averaged parameters of every stage, of the generator's newest or best checkpoint.

    Raises:
      UserError: a stage has no checkpoint, or the generator none that was graded.
    """
    networks = experiment.networks
    frame_step, frame_model = load_frame_model(networks, workdir, mesh)
    feature_step, feature_model = load_feature_model(networks, workdir, mesh, which)
    steps = {autoencoder.NAME: frame_step, generator.NAME: feature_step}
    saved = {
        name: (epath.Path(workdir).resolve() / name / str(step)).stat().mtime
        for name, step in steps.items()
    }
    identity = {
        "workdir": str(workdir),
        "steps": steps,
        "saved": saved,
        "sampling": dataclasses.asdict(options),
        "jax": jax.__version__,
        "device": mesh.devices.flat[0].device_kind,
    }
    return TrainedModel(
        workdir=workdir,
        identity=identity,
        steps=steps,
        options=options,
        frame_model=frame_model,
        feature_model=feature_model,
        frames=VideoSampler(networks, experiment.diffusion, options, mesh),
        features=FeatureSampler(networks, experiment.generator_diffusion, options, mesh),
    )


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
        features = model.features(model.feature_model, conditions(first, count), seed, number)
        return model.frames.decode(model.frame_model, features, index_n, seed, first_video=number)

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
        features = model.frames.encode(model.frame_model, frames[:, clip.key_positions])
        made = model.frames.decode(model.frame_model, features, index_n, seed, first_video=first)
        return np.stack([made, frames], axis=1)

    identity = {"model": model.identity, "real": dict(real.identity), "seed": seed}
    return ClipSet("reconstructed", identity, real.num_clips, read)
