"""Encodes a dataset once with a frozen frame codec, into shards beside or inside a workdir.

Where the codec is frozen, encoding every frame once replaces encoding K + n frames per clip and
step. Shards follow those of the videos, one for one, and finished ones are kept when a run is
interrupted. Dimension key: F frames, H, W frame size, C colours, h, w latent size, M moments.
"""

import functools
import hashlib
import itertools
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import grain
import jax
import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from jax.sharding import Mesh

from glober_jax.data import latents
from glober_jax.data.building.output_folder import OutputFolder
from glober_jax.data.building.shard_file import fingerprint, shard_files, write_metadata
from glober_jax.data.damage import DamagedVideo, DamageLog
from glober_jax.data.latents import LatentRecord
from glober_jax.data.loader import allow_unparsed_flags
from glober_jax.data.schema import records_of, serialize_example
from glober_jax.data.source import StoredVideo, StoredVideos
from glober_jax.models.frame_codec import normalise_frames
from glober_jax.models.networks import Networks, Params
from glober_jax.parallel.mesh import put_batch, replicated
from glober_jax.progress import Progress

_FRAMES_PER_CALL = 64
_THREADS = 4
_PARTS_AHEAD = 8

Encode = Callable[[np.ndarray], np.ndarray]


def codec_id(params: Params) -> str:
    """16 hex digits of the codec's parameters."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(jax.device_get(params)):
        digest.update(leaf.tobytes())
    return digest.hexdigest()[:16]


def frame_encoder(networks: Networks, params: Params, mesh: Mesh) -> Encode:
    """Compiled map from frames, uint8 [F, H, W, C], to moments, float16 [F, h, w, M].

    `params` holds the frame codec's. Calls of any F are filled up to a multiple of one number, so
    that one program does; frames are spread over the mesh.
    """
    size = -(-_FRAMES_PER_CALL // mesh.size) * mesh.size

    @functools.partial(jax.jit, out_shardings=replicated(mesh))
    def encode(params: Params, frames: jax.Array) -> jax.Array:
        frames = normalise_frames(frames)
        return networks.apply(params, "frame_codec", frames, method="encode")

    def encode_any(frames_FHWC: np.ndarray) -> np.ndarray:
        parts = []
        for start in range(0, len(frames_FHWC), size):
            chunk = frames_FHWC[start : start + size]
            rows = put_batch({"frames": np.resize(chunk, (size, *chunk.shape[1:]))}, mesh)
            moments = jax.device_get(encode(params, rows["frames"]))
            parts.append(moments[: len(chunk)].astype(np.float16))
        return np.concatenate(parts)

    return encode_any


@dataclass(frozen=True)
class LatentCache:
    """A cache of latents to be made, or to be found, in a folder.

    Attributes:
      source: the videos to encode.
      encode: what encodes frames; see `frame_encoder`.
      moment_shape: (h, w, M).
      codec_id: says which codec that is.
      flip: whether mirrored frames are encoded as well.
      damage: counts the videos that are damaged and left out, and stops at too many.
      command: the command line that makes it, for its card.
    """

    source: StoredVideos
    encode: Encode
    moment_shape: tuple[int, int, int]
    codec_id: str
    flip: bool
    damage: DamageLog
    command: str

    def is_in(self, output: Path) -> bool:
        """Whether `output` holds exactly this."""
        return self._folder(output).holds_wanted

    def make(self, output: Path, *, overwrite: bool = False) -> bool:
        """Encodes what an interrupted run has not, and leaves the data set in `output`.

        Returns:
          Whether anything was done: False if it is there already.

        Raises:
          UserError: `output` is not writable or holds something else, or too many videos
            are damaged.
        """
        folder = self._folder(output)
        if folder.is_finished(overwrite=overwrite):
            return False
        with folder.staging() as staging:
            facts = self._write(staging)
            folder.publish(staging, facts, _for_people(facts, self.command))
        return True

    def _folder(self, output: Path) -> OutputFolder:
        arguments = {"codec": self.codec_id, "data": self.source.fingerprint, "flip": self.flip}
        return OutputFolder(output, latents.DATASET, arguments, self.command)

    def _write(self, staging: Path) -> dict[str, object]:
        source = self.source
        files = shard_files(staging, latents.DATASET, latents.SPLIT, len(source.shard_lengths))
        features = latents.latent_features(
            self.moment_shape, flip=self.flip, text_info=source.text_info
        )
        ends = list(itertools.accumulate(source.shard_lengths))
        with Progress("encoding", len(source), unit="video") as progress:
            for file, begin, end in zip(files, [0, *ends], ends, strict=False):
                if not file.is_finished():
                    with file.writing() as writer:
                        for num_frames, records in self._videos(begin, end, features, progress):
                            writer.add(num_frames, records)
                progress.update(end)
        shards = write_metadata(
            staging,
            latents.DATASET,
            "Latents of videos.",
            features,
            {latents.SPLIT: files},
            latents.latent_metadata(source, self.codec_id, self.moment_shape, flip=self.flip),
        )
        return {
            "videos": sum(len(shard.lengths) for shard in shards[latents.SPLIT]),
            "moments": list(self.moment_shape),
            "bytes": sum(shard.num_bytes for shard in shards[latents.SPLIT]),
            "fingerprint": fingerprint(shards[latents.SPLIT]),
        }

    def _videos(
        self, begin: int, end: int, features: tfds.features.FeaturesDict, progress: Progress
    ) -> Iterator[tuple[int, Iterator[tuple[bytes, str]]]]:
        """Lengths and records of the undamaged ones of videos `begin` to `end` (excluded)."""
        encode = self.encode if not self.flip else functools.partial(_encode_both, self.encode)
        damaged: set[int] = set()
        encoded = _encode_all(self._read(begin, end, damaged), encode)
        for index, parts in itertools.groupby(encoded, key=lambda part: part[0].index):
            videos, moments = zip(*parts, strict=True)
            video = videos[0]
            if index not in damaged:
                records = self._records(video, np.concatenate(moments), features)
                yield video.num_frames, records
            progress.update(index + 1)

    def _records(
        self, video: StoredVideo, moments: np.ndarray, features: tfds.features.FeaturesDict
    ) -> Iterator[tuple[bytes, str]]:
        for start, stop in records_of(video.num_frames):
            text_LE = video.text_LE
            record = LatentRecord(
                video.video_id,
                video.label,
                video.fps,
                video.num_frames,
                start,
                moments[start:stop, 0] if self.flip else moments[start:stop],
                moments[start:stop, 1] if self.flip else None,
                "" if start else video.caption,
                text_LE[:0] if start and text_LE is not None else text_LE,
            )
            data = serialize_example(features, latents.latent_example(record))
            yield data, hashlib.sha256(data).hexdigest()

    def _read(
        self, begin: int, end: int, damaged: set[int]
    ) -> Iterator[tuple[StoredVideo, np.ndarray]]:
        """Parts of videos, each with its frames, decoded ahead by threads.

        Videos that lack a part are added to `damaged` before another one begins.
        """
        allow_unparsed_flags()
        parts = [
            (index, start)
            for index in range(begin, end)
            for start in range(0, self.source[index].num_frames, _FRAMES_PER_CALL)
        ]

        def read(part: tuple[int, int]) -> tuple[StoredVideo, np.ndarray] | DamagedVideo:
            index, start = part
            video = self.source[index]
            try:
                stop = min(start + _FRAMES_PER_CALL, video.num_frames)
                return video, video.read(range(start, stop))
            except DamagedVideo as error:
                return error

        options = grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=_PARTS_AHEAD)
        found = grain.MapDataset.source(parts).map(read).to_iter_dataset(options)
        for (index, _), part in zip(parts, found, strict=True):
            if isinstance(part, DamagedVideo):
                damaged.add(index)
                self.damage.add([(index, part.video, part.reason)])
            else:
                yield part


def latent_cache(
    source: StoredVideos,
    networks: Networks,
    params: Params,
    mesh: Mesh,
    *,
    flip: bool,
    damage: DamageLog,
    data: str,
    workdir: epath.Path,
    output: Path,
) -> LatentCache:
    """The cache of `source` in `data` by the codec `params` of `workdir`, to go to `output`."""
    flags = [f"--input={data}", f"--workdir={workdir}", f"--output={output}"]
    height, width, channels = networks.latent_shape
    return LatentCache(
        source=source,
        encode=frame_encoder(networks, params, mesh),
        codec_id=codec_id(params),
        flip=flip,
        damage=damage,
        moment_shape=(height, width, 2 * channels),
        command=shlex.join(["python", "-m", "glober_jax.prepare", "latents", *flags]),
    )


def _encode_both(encode: Encode, frames_FHWC: np.ndarray) -> np.ndarray:
    """Moments of frames and of their mirror images: [F, 2, h, w, M]."""
    mirrored_FHWC = np.ascontiguousarray(frames_FHWC[:, :, ::-1])
    return np.stack([encode(frames_FHWC), encode(mirrored_FHWC)], axis=1)


def _encode_all(
    parts: Iterable[tuple[StoredVideo, np.ndarray]], encode: Encode
) -> Iterator[tuple[StoredVideo, np.ndarray]]:
    """Parts of videos with what `encode` makes of their frames; short ones share a call."""
    waiting: list[tuple[StoredVideo, np.ndarray]] = []
    frames = 0
    for video, frames_FHWC in parts:
        waiting.append((video, frames_FHWC))
        frames += len(frames_FHWC)
        if frames >= _FRAMES_PER_CALL:
            yield from _encode_together(waiting, encode)
            waiting, frames = [], 0
    if waiting:
        yield from _encode_together(waiting, encode)


def _encode_together(
    parts: list[tuple[StoredVideo, np.ndarray]], encode: Encode
) -> Iterator[tuple[StoredVideo, np.ndarray]]:
    moments = encode(np.concatenate([frames_FHWC for _, frames_FHWC in parts]))
    ends = list(itertools.accumulate(len(frames_FHWC) for _, frames_FHWC in parts))
    for (video, _), part in zip(parts, np.split(moments, ends[:-1]), strict=True):
        yield video, part


def _for_people(facts: Mapping[str, object], command: str) -> str:
    height, width, moments = facts["moments"]
    return (
        f"# Data card: latents\n\nMade by\n\n    {command}\n\n"
        f"{facts['videos']} videos of {height}x{width}x{moments} moments per frame, "
        f"{facts['bytes'] / 1e6:.1f} MB, fingerprint `{facts['fingerprint']}`.\n"
    )
