"""Measures clips once: block by block, each block kept on disk, so that an interrupted evaluation
goes on and real clips need not be measured again for the next model.

Dimension key: N clips, B clips of a block, T frames, H, W frame size, C colours, F chosen frames,
D features.
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
from glober_jax.evaluation.extraction import per_clip
from glober_jax.evaluation.metrics import frame_quality, motion, optical_flow
from glober_jax.evaluation.metrics.frame_quality import FrameMeasure, Metric
from glober_jax.evaluation.preprocess import preprocess
from glober_jax.evaluation.protocol import Resize
from glober_jax.models import lpips
from glober_jax.progress import Progress

# Of clips, along the first axis.
Measures = dict[str, np.ndarray]

# Clips that are measured, and made, together; a lost block is made again.
_BLOCK = 32
_CLIPS_PER_DEVICE = 4
# AlexNet sees some frames of a clip, at a size of which its features are large enough.
_LOOKS, _LOOK_SIZE = 4, 128
_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class ClipSet:
    """Clips of one shape, read block by block: `kind` is one word, such as "real", for file names.

    `identity`, for JSON, is all that decides their pixels: two sets of one identity are the same.
    `read(first, count)` gives uint8 [B, T, H, W, C], or [B, 2, T, H, W, C] of clips in pairs.
    """

    kind: str
    identity: Mapping[str, Any]
    num_clips: int
    read: Callable[[int, int], np.ndarray]


@dataclass(frozen=True)
class FeatureExtractor:
    """Measures clips, each uint8 [T, H, W, C] and by itself: arrays [B, ...] by name.

    `identity`, for JSON, is all that the numbers depend on besides the clips.
    """

    identity: Mapping[str, Any]
    measure: Callable[[Iterable[np.ndarray]], Measures]


def looks(mesh: Mesh) -> FeatureExtractor:
    """`looks` float32 [B, F, 896]: AlexNet's features of up to four frames spread over a clip."""

    def compute(params: lpips.Params, clips_BTHWC: jax.Array) -> dict[str, jax.Array]:
        batch, frames = clips_BTHWC.shape[:2]
        chosen = np.unique(np.linspace(0, frames - 1, _LOOKS).round().astype(int))
        looks = preprocess(clips_BTHWC[:, chosen], _LOOK_SIZE, "stretch")
        features = lpips.pooled_features(params, looks.reshape(-1, *looks.shape[2:]))
        return {"looks": features.reshape(batch, len(chosen), -1)}

    extract = per_clip(compute, lpips.load("alex"), mesh, _CLIPS_PER_DEVICE)
    return FeatureExtractor({"looks": [_LOOKS, _LOOK_SIZE]}, extract)


def logits(mesh: Mesh, resize: Resize) -> FeatureExtractor:
    """`logits` float32 [B, 400]: those of I3D; raises as `i3d.load`."""

    def compute(params: i3d.Params, clips_BTHWC: jax.Array) -> dict[str, jax.Array]:
        return {"logits": i3d.logits(params, preprocess(clips_BTHWC, i3d.FRAME_SIZE, resize))}

    extract = per_clip(compute, i3d.load(), mesh, _CLIPS_PER_DEVICE)
    return FeatureExtractor({"logits": resize}, extract)


def motions() -> FeatureExtractor:
    """What `motion` and `optical_flow` measure: float64 [B], and `difference_by_index` [B, T-1]."""

    def measure(clips_BTHWC: Iterable[np.ndarray]) -> Measures:
        rows = [motion.measure_clip(x) | optical_flow.measure_clip(x) for x in clips_BTHWC]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    return FeatureExtractor({"motion": 1}, measure)


def pairs(quality: Mapping[Metric, FrameMeasure], of_made: FeatureExtractor) -> FeatureExtractor:
    """Of made clips beside real ones [B, 2, T, H, W, C]: `quality`, float64 [B, T] of each metric.

    `of_made` measures the made clips alone.
    """

    def measure(pairs_B2THWC: np.ndarray) -> Measures:
        made_BTHWC, real_BTHWC = pairs_B2THWC[:, 0], pairs_B2THWC[:, 1]
        found = frame_quality.measure_clips(quality, made_BTHWC, real_BTHWC)
        return found | of_made.measure(made_BTHWC)

    return FeatureExtractor({"pairs": list(quality), **of_made.identity}, measure)


def together(*extractors: FeatureExtractor) -> FeatureExtractor:
    """All of them on the same clips, which are then read, or made, once."""

    def measure(clips_BTHWC: np.ndarray) -> Measures:
        found = [extractor.measure(clips_BTHWC) for extractor in extractors]
        return {name: values for measures in found for name, values in measures.items()}

    identity = {name: value for part in extractors for name, value in part.identity.items()}
    return FeatureExtractor(identity, measure)


def measure(clips: ClipSet, extractor: FeatureExtractor, folder: epath.PathLike | None) -> Measures:
    """Arrays [N, ...] by name, of all clips in order.

    Blocks that are done are kept in `folder`, each in a file, and found there if clips of the same
    identity were measured by an extractor of the same identity. None keeps nothing, as several
    processes have to: they must agree on what is measured again.
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
    """A block that was kept; None where there is none, or not as it was written."""
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
    """An .npz file with a digest of it at its end, where readers of such files do not mind it."""
    buffer = io.BytesIO()
    np.savez(buffer, **block)
    data = buffer.getvalue()
    media.write_file(file, data + hashlib.sha256(data).digest())
