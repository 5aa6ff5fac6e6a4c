"""A dataset's codec moments, computed once and kept in the workdir.

Where the codec is frozen and the data set small, encoding every frame once replaces encoding
K + n frames per clip and step. The cache is a `VideoSource` like any other: the loader draws the
same clips from it. Dimension key: F frames, h, w latent size, Z latent channels,
L, E embedded text.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Sequence

import jax
import numpy as np
from etils import epath

from glober_jax.data.schema import TextInfo
from glober_jax.data.source import VideoSource
from glober_jax.progress import Progress

_FRAMES_PER_CALL = 64


@dataclasses.dataclass(frozen=True)
class CachedVideo:
    """A video whose frames are moments: `read` gives float16 [F, h, w, 2 Z]."""

    video_id: str
    label: int
    fps: float
    moments_FhwM: np.ndarray
    caption: str
    text_LE: np.ndarray | None

    @property
    def num_frames(self) -> int:
        return len(self.moments_FhwM)

    def read(self, frame_ids: Sequence[int]) -> np.ndarray:
        return self.moments_FhwM[np.asarray(frame_ids)]


@dataclasses.dataclass(frozen=True)
class CachedVideos:
    """All videos of a source as moments, in memory."""

    videos: tuple[CachedVideo, ...]
    class_names: tuple[str, ...]
    fingerprint: str
    text_info: TextInfo | None

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> CachedVideo:
        return self.videos[index]


def cache_latents(
    source: VideoSource,
    encode: Callable[[jax.Array], jax.Array],
    codec_id: str,
    path: epath.PathLike,
) -> CachedVideos:
    """The source's videos as moments, from `path` where it holds them, else encoded and written.

    Args:
      source: videos of uint8 frames.
      encode: compiled map from uint8 frames [F, H, W, 3] to moments [F, h, w, 2 Z].
      codec_id: says which codec `encode` is; a cache of another codec or data set is replaced.
      path: the `.npz` file.
    """
    path = epath.Path(path)
    key = json.dumps({"codec": codec_id, "data": source.fingerprint})
    if path.exists():
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            if str(stored["key"]) == key:
                return _videos(source, {name: stored[name] for name in stored.files})
    arrays = _encode_all(source, encode) | {"key": np.array(key)}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.parent / f"{path.name}.partial"
    with partial.open("wb") as file:
        np.savez(file, **arrays)
    os.replace(partial, path)
    return _videos(source, arrays)


def _encode_all(
    source: VideoSource, encode: Callable[[jax.Array], jax.Array]
) -> dict[str, np.ndarray]:
    moments, facts, texts = [], [], []
    waiting: list[np.ndarray] = []

    def encode_waiting(count: int) -> None:
        """Encodes the first `count` frames, in calls of one shape so that one is compiled."""
        chunk = np.stack(waiting[:count])
        padded = np.resize(chunk, (_FRAMES_PER_CALL, *chunk.shape[1:]))
        moments.append(jax.device_get(encode(padded))[:count].astype(np.float16))
        del waiting[:count]

    with Progress("encoding the data set", len(source), unit="video") as progress:
        for index in range(len(source)):
            video = source[index]
            facts.append((video.num_frames, video.video_id, video.label, video.fps))
            texts.append((video.caption, video.text_LE))
            waiting.extend(video.read(range(video.num_frames)))
            while len(waiting) >= _FRAMES_PER_CALL:
                encode_waiting(_FRAMES_PER_CALL)
            progress.update(index + 1)
    if waiting:
        encode_waiting(len(waiting))
    lengths, names, labels, rates = (np.array(column) for column in zip(*facts, strict=True))
    arrays = {
        "moments": np.concatenate(moments),
        "lengths": lengths,
        "video_id": names,
        "label": labels,
        "fps": rates,
    }
    if source.text_info is not None:
        captions, embeddings = zip(*texts, strict=True)
        arrays |= {"caption": np.array(captions), "text": np.stack(embeddings)}
    return arrays


def _videos(source: VideoSource, arrays: dict[str, np.ndarray]) -> CachedVideos:
    per_video = np.split(arrays["moments"], np.cumsum(arrays["lengths"])[:-1])
    captions, texts = [""] * len(per_video), [None] * len(per_video)
    if source.text_info is not None:
        captions, texts = arrays["caption"], arrays["text"]
    facts = (arrays[name] for name in ("video_id", "label", "fps"))
    videos = tuple(
        CachedVideo(str(name), int(label), float(fps), moments, str(caption), text_LE)
        for name, label, fps, moments, caption, text_LE in zip(
            *facts, per_video, captions, texts, strict=True
        )
    )
    return CachedVideos(videos, source.class_names, source.fingerprint, source.text_info)
