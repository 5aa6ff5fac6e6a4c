"""A trained model with its identity, and its reconstructions of real clips.

Dimension key: N clips, T frames, n chosen frames, K key frames, H, W frame size, C colours or
channels.
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
from glober_jax.evaluation.measuring import ClipSet
from glober_jax.evaluation.protocols import Protocol, to_fit
from glober_jax.experiment.options import Experiment
from glober_jax.pretrained import load_model
from glober_jax.sampling.glober import Glober
from glober_jax.sampling.options import SamplingOptions
from glober_jax.training.checkpoint import Which
from glober_jax.training.packaged_model import when_saved


class TrainedModel(NamedTuple):
    """A model, and all that its clips depend on besides conditions and places, for JSON."""

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
    """`pretrained.load_model` with the model's identity."""
    glober = load_model(experiment, workdir, options, mesh, checkpoint)
    saved = {name: when_saved(workdir, name, step) for name, step in glober.trained_steps.items()}
    identity = {
        "workdir": str(workdir),
        "steps": glober.trained_steps,
        "saved": saved,
        "sampling": dataclasses.asdict(options),
        "jax": jax.__version__,
        "device": mesh.devices.flat[0].device_kind,
    }
    return TrainedModel(glober, workdir, identity)


def blend(keys_NKHWC: np.ndarray, key_positions_K: np.ndarray, num_frames: int) -> np.ndarray:
    """Pixels or latents float32 [N, T, H, W, C], linear in time between keys.

    Positions ascend from 0; the last key is held until the end.
    """
    places_T, one_hot_KK = np.arange(num_frames), np.eye(len(key_positions_K))
    weights_KT = np.stack([np.interp(places_T, key_positions_K, row_K) for row_K in one_hot_KK])
    blended = np.tensordot(
        weights_KT.astype(np.float32), keys_NKHWC.astype(np.float32), axes=[(0,), (1,)]
    )
    return np.moveaxis(blended, 0, 1)


def interpolate(
    key_frames_NKHWC: np.ndarray, key_positions_K: np.ndarray, num_frames: int
) -> np.ndarray:
    """`blend` of key frames, rounded: uint8 [N, T, H, W, C]."""
    return np.round(blend(key_frames_NKHWC, key_positions_K, num_frames)).astype(np.uint8)


def protocol_index(protocol: Protocol, clip: ClipSpec) -> np.ndarray:
    """Indices of the protocol's frames in the model's clip, float32 [n] in [0, 1).

    Raises `UserError` where they reach beyond it.
    """
    length = clip.num_frames * clip.stride
    if protocol.span > length:
        longer = f"train with config.clip.num_frames={-(-protocol.min_length // clip.stride)}"
        raise UserError(
            f"protocol {protocol.name} compares clips of {protocol.num_frames} frames, {length} of "
            f"which are a clip of this model: {to_fit(protocol, length, longer)}"
        )
    return (np.arange(protocol.num_frames) * protocol.stride / length).astype(np.float32)


def reconstructed_clips(
    model: TrainedModel, real: ClipSet, clip: ClipSpec, seed: int
) -> dict[str, ClipSet]:
    """Pairs (made, real) of clips [N, 2, T, H, W, C], by each of `scoring.PARTS`.

    Only "reconstruction" depends on sampling options and the seed.
    """
    glober = model.glober
    of_codec = {name: model.identity[name] for name in ("workdir", "jax", "device")}
    for name in ("steps", "saved"):
        of_codec[name] = {"autoencoder": model.identity[name]["autoencoder"]}

    def codec(clip_THWC: np.ndarray) -> np.ndarray:
        return glober.decode_latents(glober.encode_frames(clip_THWC[None]))

    def interpolated(clip_THWC: np.ndarray) -> np.ndarray:
        keys = glober.encode_frames(clip_THWC[None, clip.key_positions])
        return glober.decode_latents(blend(keys, clip.key_positions, clip.num_frames))

    def one_by_one(kind: str, make: Callable[[np.ndarray], np.ndarray]) -> ClipSet:
        def read(first: int, count: int) -> np.ndarray:
            frames = real.read(first, count)
            made = np.concatenate([make(clip_THWC) for clip_THWC in frames])
            return np.stack([made, frames], axis=1)

        identity = {"model": of_codec, "kind": kind, "real": dict(real.identity)}
        return ClipSet(kind, identity, real.num_clips, read)

    return {
        "codec": one_by_one("codec", codec),
        "interpolated": one_by_one("interpolated", interpolated),
        "reconstruction": encoded_and_decoded("reconstruction", model, real, seed, clip),
    }


def first_reconstructions(
    model: TrainedModel, real: ClipSet, clip: ClipSpec, seed: int, count: int
) -> dict[str, np.ndarray]:
    """At most `count` of the `real` clips and their `reconstructed_clips`, by title."""
    count = min(count, real.num_clips)
    shown = {"Real": real.read(0, count)}
    kinds = reconstructed_clips(model, real, clip, seed).values()
    for title, pairs in zip(("Codec", "Interpolated", "GLOBER"), kinds, strict=True):
        shown[title] = pairs.read(0, count)[:, 0]
    return shown


def encoded_and_decoded(
    kind: str, model: TrainedModel, real: ClipSet, seed: int, clip: ClipSpec, finer: int = 1
) -> ClipSet:
    """Pairs (made, real) of clips decoded from every `finer`-th frame of the real ones.

    The encoded frames are a clip of T frames; frame k of the real clip is decoded at k / (finer T).
    """
    length = (clip.num_frames - 1) * finer + 1
    index_n = (np.arange(length) / (finer * clip.num_frames)).astype(np.float32)

    def read(first: int, count: int) -> np.ndarray:
        frames = real.read(first, count)
        features = [model.glober.encode(clip_THWC[::finer]) for clip_THWC in frames]
        made = model.glober.decode(np.concatenate(features), index_n, seed=seed, first_video=first)
        return np.stack([made, frames], axis=1)

    identity = {"model": model.identity, "real": dict(real.identity), "seed": seed}
    return ClipSet(kind, identity, real.num_clips, read)
