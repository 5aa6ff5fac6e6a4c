"""Global features computed once, where every training video is exactly one clip.

Otherwise the frozen encoder runs in every step: half of its time in configs/sky64.py. Dimension
key: N videos, B clips, n readable clips, K key frames, H, W, G global feature.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import Mesh

from glober_jax.data.clips import ClipSpec, centre_clip
from glober_jax.data.damage import DamagedVideo
from glober_jax.data.source import Video, VideoSource
from glober_jax.models.networks import Networks
from glober_jax.parallel.mesh import put_batch, replicated
from glober_jax.progress import Progress
from glober_jax.sampling.decode import FrameModel, encode_clip

# What the generator reads of a `FeatureVideo`.
FEATURE_CLIP = ClipSpec(num_frames=1, num_key_frames=1, num_target_frames=0)


def fits(source: VideoSource, clip: ClipSpec, global_shape: Sequence[int]) -> bool:
    """Whether every video is one clip and their float32 features fit into 1 GiB."""
    size = 4 * len(source) * int(np.prod(global_shape))
    return size <= 2**30 and all(source[i].num_frames == clip.span for i in range(len(source)))


@dataclass(frozen=True)
class FeatureVideo:
    """A `Video` whose only frame is the global feature of `video`.

    A `damage` found while encoding is raised when the feature is read.
    """

    video: Video
    label: int
    feature_HWG: np.ndarray
    damage: DamagedVideo | None
    num_frames: int = 1

    @property
    def video_id(self) -> str:
        return self.video.video_id

    @property
    def text_LE(self) -> np.ndarray | None:
        return self.video.text_LE

    def read(self, frame_ids: Sequence[int]) -> np.ndarray:
        """Float32 [1, H, W, G]; raises DamagedVideo."""
        if self.damage is not None:
            raise self.damage
        return self.feature_HWG[None]


class FeatureVideos:
    """The global features of a source, as a `VideoSource` in memory."""

    has_mirrored = False

    def __init__(
        self,
        source: VideoSource,
        clip: ClipSpec,
        networks: Networks,
        model: FrameModel,
        batch_size: int,
        mesh: Mesh,
    ) -> None:
        """Encodes every undamaged video of `source`, B = `batch_size` at a time, on `mesh`."""
        self._source = source
        self.class_names, self.text_info = source.class_names, source.text_info
        self.fingerprint = source.fingerprint
        self._damage: dict[int, DamagedVideo] = {}
        self._labels_N = [0] * len(source)
        self._features_NHWG = np.zeros((len(source), *networks.global_shape), np.float32)
        encode = jax.jit(functools.partial(encode_clip, networks), out_shardings=replicated(mesh))
        key_ids = centre_clip(clip.span, clip).key_ids_K.tolist()
        with Progress("global features", len(source), unit="video") as progress:
            for first in range(0, len(source), batch_size):
                last = min(first + batch_size, len(source))
                readable: dict[int, np.ndarray] = {}
                for index in range(first, last):
                    video = source[index]
                    try:
                        readable[index] = video.read(key_ids)
                        self._labels_N[index] = video.label
                    except DamagedVideo as error:
                        self._damage[index] = error
                if readable:
                    rows_nK = np.stack(list(readable.values()))
                    rows_BK = np.resize(rows_nK, (batch_size, *rows_nK.shape[1:]))
                    rows = put_batch({"key_frames": rows_BK}, mesh)["key_frames"]
                    made_BHWG = jax.device_get(encode(model, rows))
                    self._features_NHWG[list(readable)] = made_BHWG[: len(readable)]
                progress.update(last)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> FeatureVideo:
        """The feature of a video; raises IndexError."""
        video, damage = self._source[index], self._damage.get(index)
        return FeatureVideo(video, self._labels_N[index], self._features_NHWG[index], damage)
