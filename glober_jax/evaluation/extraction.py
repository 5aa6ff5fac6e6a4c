"""Resizes clips for a network and runs it over any number of them on all devices of a mesh.

Every device takes the same number of clips at a time and runs the same program on every mesh, so
that the features of a clip do not depend on the number of devices. Dimension key: N clips, B clips
of a batch, T frames, H, W frame size, S the network's size, C colours.
"""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from glober_jax.evaluation.protocols import Resize
from glober_jax.models.frame_codec import normalise_frames
from glober_jax.parallel.mesh import replicated

# An array, or arrays by name, with clips along the first axis.
Features = Any


def preprocess(frames_HWC: jax.Array, size: int, resize: Resize) -> jax.Array:
    """Frames uint8 [..., H, W, C] as float32 [..., S, S, C] in [-1, 1], x / 127.5 - 1.

    Bilinear with half-pixel centres and without low-pass filter, as for published scores. "stretch"
    scales height and width each to S (StyleGAN-V, TATS); "crop" scales the shorter one to S, the
    longer one in proportion (rounded up), and takes the centre (VideoGPT, DIGAN).
    """
    *leading, height, width, channels = frames_HWC.shape
    target = (size, size)
    if resize == "crop":
        target = tuple(-(-side * size // min(height, width)) for side in (height, width))
    x = normalise_frames(frames_HWC)
    if target != (height, width):
        x = jax.image.resize(x, (*leading, *target, channels), "bilinear", antialias=False)
    top, left = ((side - size) // 2 for side in target)
    return x[..., top : top + size, left : left + size, :]


def per_clip(
    compute: Callable[[Any, jax.Array], Features], params: Any, mesh: Mesh, clips_per_device: int
) -> Callable[[Iterable[np.ndarray]], Features]:
    """Compiled map from clips [T, H, W, C] of one shape to host arrays [N, ...].

    `compute` maps (params, clips [clips_per_device, T, H, W, C]) to a tree of arrays, each clip on
    its own. Clips are sharded over all axes of the mesh; all processes must pass the same ones.
    """
    spread, size = PartitionSpec(mesh.axis_names), mesh.size * clips_per_device
    params = jax.device_put(params, replicated(mesh))
    program = jax.jit(
        jax.shard_map(compute, mesh=mesh, in_specs=(PartitionSpec(), spread), out_specs=spread),
        out_shardings=replicated(mesh),
    )

    def start(batch: list[np.ndarray]) -> Features:
        # The last batch is padded.
        clips_BTHWC = np.stack(batch + batch[-1:] * (size - len(batch)))
        # Each process copies only its shards; jax.device_put would compare the whole array first.
        clips = jax.make_array_from_callback(
            clips_BTHWC.shape, NamedSharding(mesh, spread), clips_BTHWC.__getitem__
        )
        return program(params, clips)

    def extract(clips: Iterable[np.ndarray]) -> Features:
        clips, batches, count = iter(clips), [], 0
        while batch := list(itertools.islice(clips, size)):
            batches.append(start(batch))
            count += len(batch)
            # Devices work while the next batch is read, and no further ahead.
            batches[-2:-1] = jax.device_get(batches[-2:-1])
        found = jax.device_get(batches)
        return jax.tree.map(lambda *rows: np.concatenate(rows)[:count], *found)

    return extract
