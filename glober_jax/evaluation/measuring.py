"""Measures clips block by block; stored blocks let an interrupted evaluation resume.

Dimension key: N clips, B clips of a block, T frames, H, W frame size, C colours, F chosen frames.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from glober_jax import media
from glober_jax.evaluation import i3d
from glober_jax.evaluation.extraction import per_clip, preprocess
from glober_jax.evaluation.metrics import frame_quality, motion
from glober_jax.evaluation.metrics.frame_quality import FrameMeasure, Metric
from glober_jax.evaluation.protocols import Resize
from glober_jax.models import lpips
from glober_jax.progress import Progress

# By name, with clips along the first axis.
Measures = dict[str, np.ndarray]

# Clips that are read or generated and measured together; an interruption loses one block.
_BLOCK = 32
_CLIPS_PER_DEVICE = 4
# AlexNet sees this many frames of a clip, enlarged to this many pixels.
_FRAMES, _FRAME_SIZE = 4, 128
_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class ClipSet:
    """Clips of one shape that are read block by block.

    Attributes:
      kind: one word for file names, such as "real".
      identity: for JSON, all that decides the pixels: sets of equal identity are equal.
      num_clips: N.
      read: (first, count) to uint8 [B, T, H, W, C], or [B, 2, T, H, W, C] of pairs of clips.
    """

    kind: str
    identity: Mapping[str, Any]
    num_clips: int
    read: Callable[[int, int], np.ndarray]


@dataclass(frozen=True)
class FeatureExtractor:
    """A map from uint8 clips [B, T, H, W, C] to arrays [B, ...] by name, each clip on its own.

    `identity`, for JSON, is all that the numbers depend on besides the clips.
    """

    identity: Mapping[str, Any]
    measure: Callable[[Iterable[np.ndarray]], Measures]


def frame_features(mesh: Mesh) -> FeatureExtractor:
    """`frames` float32 [B, F, 896]: AlexNet's features of up to four frames spread over a clip."""

    def compute(params: lpips.Params, clips_BTHWC: jax.Array) -> dict[str, jax.Array]:
        batch, length = clips_BTHWC.shape[:2]
        chosen = np.unique(np.linspace(0, length - 1, _FRAMES).round().astype(int))
        frames = preprocess(clips_BTHWC[:, chosen], _FRAME_SIZE, "stretch")
        features = lpips.pooled_features(params, frames.reshape(-1, *frames.shape[2:]))
        return {"frames": features.reshape(batch, len(chosen), -1)}

    extract = per_clip(compute, lpips.load("alex"), mesh, _CLIPS_PER_DEVICE)
    return FeatureExtractor({"frames": [_FRAMES, _FRAME_SIZE]}, extract)


def i3d_logits(mesh: Mesh, resize: Resize) -> FeatureExtractor:
    """`logits` float32 [B, 400] of I3D; raises as `i3d.load`."""

    def compute(params: i3d.Params, clips_BTHWC: jax.Array) -> dict[str, jax.Array]:
        return {"logits": i3d.logits(params, preprocess(clips_BTHWC, i3d.FRAME_SIZE, resize))}

    extract = per_clip(compute, i3d.load(), mesh, _CLIPS_PER_DEVICE)
    return FeatureExtractor({"logits": resize}, extract)


def motion_measures() -> FeatureExtractor:
    """The measures of `motion`, float64 [B], by index [B, T-1]."""

    def measure(clips_BTHWC: Iterable[np.ndarray]) -> Measures:
        rows = [motion.measure_pixels(x) | motion.measure_flow(x) for x in clips_BTHWC]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    return FeatureExtractor({"motion": 1}, measure)


def combined(*extractors: FeatureExtractor) -> FeatureExtractor:
    """All of them on the same clips, which are read or generated once."""

    def measure(clips_BTHWC: np.ndarray) -> Measures:
        found = [extractor.measure(clips_BTHWC) for extractor in extractors]
        return {name: values for measures in found for name, values in measures.items()}

    identity = {name: value for part in extractors for name, value in part.identity.items()}
    return FeatureExtractor(identity, measure)


def paired_quality(
    quality: Mapping[Metric, FrameMeasure], of_made: FeatureExtractor
) -> FeatureExtractor:
    """Frame quality, float64 [B, T], of pairs (made, real) [B, 2, T, H, W, C].

    `of_made` also measures the made clips alone.
    """

    def measure(pairs_B2THWC: np.ndarray) -> Measures:
        made_BTHWC, real_BTHWC = pairs_B2THWC[:, 0], pairs_B2THWC[:, 1]
        found = frame_quality.measure_clips(quality, made_BTHWC, real_BTHWC)
        return found | of_made.measure(made_BTHWC)

    return FeatureExtractor({"pairs": list(quality), **of_made.identity}, measure)


def measure(clips: ClipSet, extractor: FeatureExtractor, folder: epath.PathLike | None) -> Measures:
    """Arrays [N, ...] by name, of all clips in order.

    Blocks are stored in `folder` by the identities of clips and extractor, and later calls read
    them. Several processes need None, no folder: all have to measure the same blocks.
    """
    key = json.dumps([dict(clips.identity), dict(extractor.identity)], sort_keys=True)
    name = f"{clips.kind}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    blocks = []
    with Progress(f"{clips.kind} clips", clips.num_clips, unit="clip") as progress:
        for first in range(0, clips.num_clips, _BLOCK):
            count = min(_BLOCK, clips.num_clips - first)
            file = folder and epath.Path(folder) / name / f"{first:06d}.npz"
            block = file and _read(file)
            if not block:
                block = extractor.measure(clips.read(first, count))
                if file:
                    _write(file, block)
            blocks.append(block)
            progress.advance(count)
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _read(file: epath.Path) -> Measures | None:
    """A stored block; None where it is missing or damaged."""
    try:
        stored = file.read_bytes()
    except OSError:
        return None
    data, digest = stored[:-_DIGEST_BYTES], stored[-_DIGEST_BYTES:]
    if hashlib.sha256(data).digest() != digest:
        return None
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return dict(arrays)


def _write(file: epath.Path, block: Measures) -> None:
    """An .npz file followed by its SHA-256, which readers of such files ignore."""
    buffer = io.BytesIO()
    np.savez(buffer, **block)
    data = buffer.getvalue()
    media.write_file(file, data + hashlib.sha256(data).digest())
