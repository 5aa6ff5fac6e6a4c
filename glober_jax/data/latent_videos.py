"""A dataset as its frames' latents: the videos of a source, encoded once by a given frame codec.

A record holds the codec's moments of a few frames, mean and log-variance, and where wanted those of
the mirrored frames; records and shards are those of the dataset it was made from, one for one. The
loader draws the same clips from it. The metadata say which codec and which videos it was made from.

Dimension key: F frames, H, W frame size, C colours, h, w latent size, M = 2 Z moments of Z latent
channels, V = 1, or 2 with the mirrored frames.
"""

import functools
import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any, Self

import grain
import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from glober_jax.data.building.output import (
    OutputFolder,
    ShardFacts,
    ShardFile,
    fingerprint,
    read_shards,
    shard_files,
    write_metadata,
)
from glober_jax.data.damage import DamagedVideo, DamageLog, remedy
from glober_jax.data.files import data_path
from glober_jax.data.loader import allow_unparsed_flags
from glober_jax.data.schema import (
    CLASS_NAMES,
    TEXT,
    TextInfo,
    VideoRecord,
    records_of,
    serialize_example,
    video_features,
)
from glober_jax.data.source import StoredVideo, StoredVideos, VideoSource
from glober_jax.data.stored_records import StoredRecords, open_records
from glober_jax.errors import Unfinished, UserError
from glober_jax.progress import Progress

DATASET = "latents"
SPLIT = "train"
# Keys of the metadata.
CODEC, DATA, FLIP, SHAPE = "codec", "data", "flip", "shape"
# Of eight frames each; they share a call of the codec.
_RECORDS_PER_CALL = 8
FRAMES_PER_CALL = 64
_THREADS = 4

# From frames, uint8 [F, H, W, C], F <= FRAMES_PER_CALL, to moments, float16 [F, h, w, M].
Encode = Callable[[np.ndarray], np.ndarray]


class LatentVideo(StoredVideo):
    """A video whose frames are moments: `read` gives float16 [F, h, w, M]."""

    def mirrored(self) -> Self:
        """The moments of the mirrored frames, which must have been encoded too."""
        return replace(self, parse=functools.partial(self.parse, moments="mirrored"), _records={})

    def read(self, frame_ids: Sequence[int]) -> np.ndarray:
        return np.stack(self.stored_frames(frame_ids))


class LatentVideos(StoredVideos):
    """A cache of latents as a `VideoSource`."""

    has_mirrored = True
    _video = LatentVideo

    def __init__(self, records: StoredRecords):
        """Gives `records` of latents as videos."""
        super().__init__(records)
        shape_hwM = tuple(records.metadata[SHAPE])
        self._features = _features(shape_hwM, records.metadata[FLIP], self.text_info)

    def _parse(self, data: bytes, moments: str = "moments") -> VideoRecord:
        # Missing features are None, for which the conversions below raise TypeError.
        example = self._features.deserialize_example_np(data)
        return VideoRecord(
            video_id=bytes(example["video_id"]).decode(),
            label=int(example["label"]),
            fps=float(example["fps"]),
            num_frames=int(example["num_frames"]),
            start=int(example["start"]),
            frames=example[moments][:],
            caption=bytes(example["caption"]).decode(),
            text_LE=example.get(TEXT),
        )


def open_latents(
    directory: epath.PathLike,
    source: VideoSource,
    codec_id: str,
    *,
    flip: bool,
    max_damaged: float = 0.0,
) -> LatentVideos:
    """Opens the cache of `source` by the codec of that id, the --output of `prepare latents`.

    `flip` asks for mirrored frames; for the rest see `open_records`. Raises UserError also where
    the cache is of another codec or of other videos, or lacks mirrored frames.
    """
    make = "python -m glober_jax.prepare latents"
    how_to_make = f"  {make} --input=DIR --workdir=DIR --output={{directory}}"
    records = open_records(directory, SPLIT, ("moments", "start"), how_to_make, max_damaged)
    found, again = records.metadata, f"make it again with {make}"
    wanted_by_key = {CODEC: (codec_id, "frame codec"), DATA: (source.fingerprint, "data set")}
    for key, (wanted, what) in wanted_by_key.items():
        if found[key] != wanted:
            raise UserError(
                f"the latents in {directory} were made from another {what} ({found[key]}) than "
                f"this run's ({wanted}): {again}"
            )
    if flip and not found[FLIP]:
        raise UserError(
            f"config.data.flip needs mirrored frames, which the latents in {directory} lack: set "
            f"it to False, or {again} from a workdir whose config has it"
        )
    return LatentVideos(records)


def make_latents(
    output: epath.PathLike,
    source: StoredVideos,
    encode: Encode,
    shape_hwM: tuple[int, int, int],
    codec_id: str,
    *,
    flip: bool,
    damage: DamageLog,
    command: str,
    overwrite: bool = False,
    share: tuple[int, int] = (0, 1),
) -> bool:
    """Encodes a dataset, shard by shard; finished shards are kept.

    Args:
      output: the folder of the cache and nothing else.
      encode, shape_hwM, codec_id: the frame codec, the shape of its moments, and which one it is.
      flip: whether mirrored frames are encoded as well.
      damage: counts the videos that are damaged and left out, and stops at too many.
      command: the command line that makes it, for its card.
      share: (i, n) encodes the i-th of n shares of the shards; when all are encoded, a call with
        (0, 1) completes the cache.

    Returns:
      False if the cache is there already.

    Raises:
      UserError: `output` is not writable or holds something else, or too many videos are damaged.
    """
    arguments = {CODEC: codec_id, DATA: source.fingerprint, FLIP: flip}
    folder = OutputFolder(data_path(output), DATASET, arguments, command)
    if folder.is_finished(overwrite=overwrite):
        return False
    metadata = {CLASS_NAMES: list(source.class_names), SHAPE: list(shape_hwM), **arguments}
    if source.text_info:
        metadata[TEXT] = asdict(source.text_info)
    features = _features(shape_hwM, flip, source.text_info)
    records = source.records
    first, count = share
    mine = range(first, len(records.shards), count)
    total = sum(len(records.videos_of(shard)) for shard in mine)
    with (
        folder.staging(shared=count > 1) as staging,
        Progress("encoding", total, unit="video") as progress,
    ):
        files = shard_files(staging, DATASET, SPLIT, len(records.shards))
        found = read_shards((files[shard], "") for shard in mine)
        for shard, facts in zip(mine, found, strict=True):
            videos = records.videos_of(shard)
            if facts is None:
                with files[shard].writing("") as add_video:
                    for video, moments in _encoded(source, videos, encode, flip, damage):
                        add_video(video.num_frames, _serialized(video, moments, features))
            progress.advance(len(videos))
        if count > 1:
            return True
        shards = read_shards((file, "") for file in files)
        _check_lost(records, files, shards, damage)
        write_metadata(staging, DATASET, features, {SPLIT: shards}, metadata)
        facts = {
            "videos": sum(len(shard.lengths) for shard in shards),
            "moments": list(shape_hwM),
            "bytes": sum(shard.num_bytes for shard in shards),
            "fingerprint": fingerprint(shards),
        }
        folder.publish(staging, facts, _card(command, facts))
    return True


def _check_lost(
    records: StoredRecords,
    files: Sequence[ShardFile],
    shards: Sequence[ShardFacts],
    damage: DamageLog,
) -> None:
    """Raises Unfinished if too many videos are lost; the next run encodes their shards again.

    Of each share alone the damage may have been within bounds.
    """
    lost_by_shard = [
        length - len(shard.lengths)
        for length, shard in zip(records.shard_lengths, shards, strict=True)
    ]
    if (lost := sum(lost_by_shard)) <= damage.allowed:
        return
    for file, count in zip(files, lost_by_shard, strict=True):
        if count:
            file.description.unlink()
    raise Unfinished(
        f"{lost} of {len(records.lengths)} videos are damaged, config.data.max_damaged allows "
        f"{damage.allowed}: {remedy(damage.directory)}"
    )


def _card(command: str, facts: dict[str, Any]) -> str:
    return (
        f"# Data card: latents\n\nMade by\n\n    {command}\n\n"
        f"{facts['videos']} videos of {'x'.join(map(str, facts['moments']))} moments per frame, "
        f"{facts['bytes'] / 1e6:.1f} MB, fingerprint `{facts['fingerprint']}`.\n"
    )


def _encoded(
    source: StoredVideos, videos: range, encode: Encode, flip: bool, damage: DamageLog
) -> Iterator[tuple[StoredVideo, list[np.ndarray]]]:
    """The undamaged videos, each with the moments [V, F, h, w, M] of its records."""
    encoded = _encoded_records(source, videos, encode, flip)
    for index, group in itertools.groupby(encoded, key=lambda found: found[0]):
        parts = [part for _, part in group]
        if damaged := [part for part in parts if isinstance(part, DamagedVideo)]:
            damage.add(index, damaged[0])
        else:
            yield source[index], parts


def _encoded_records(
    source: StoredVideos, videos: range, encode: Encode, flip: bool
) -> Iterator[tuple[int, np.ndarray | DamagedVideo]]:
    """Index of the video and moments of every record, decoded ahead by threads."""

    def read(part: tuple[int, range]) -> tuple[int, np.ndarray | DamagedVideo]:
        index, frame_ids = part
        try:
            return index, source[index].read(frame_ids)
        except DamagedVideo as error:
            return index, error

    allow_unparsed_flags()
    parts = [
        (index, range(start, stop))
        for index in videos
        for start, stop in records_of(source[index].num_frames)
    ]
    options = grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=2 * _RECORDS_PER_CALL)
    read_ahead = grain.MapDataset.source(parts).map(read).to_iter_dataset(options)
    for group in read_ahead.batch(_RECORDS_PER_CALL, drop_remainder=False, batch_fn=list):
        frames = [found for _, found in group if not isinstance(found, DamagedVideo)]
        moments = iter(())
        if frames:
            views = [np.concatenate(frames)]
            if flip:
                views.append(np.ascontiguousarray(views[0][:, :, ::-1]))
            moments_VFhwM = np.stack([encode(frames_FHWC) for frames_FHWC in views])
            ends = list(itertools.accumulate(map(len, frames)))
            moments = iter(np.split(moments_VFhwM, ends[:-1], axis=1))
        for index, found in group:
            yield index, found if isinstance(found, DamagedVideo) else next(moments)


def _serialized(
    video: StoredVideo, moments: Sequence[np.ndarray], features: tfds.features.FeaturesDict
) -> Iterator[tuple[bytes, str]]:
    """The records of a video, each with a digest."""
    shared = {name: getattr(video, name) for name in ("num_frames", "video_id", "label", "fps")}
    for (start, _), moments_VFhwM in zip(records_of(video.num_frames), moments, strict=True):
        example = {"start": start, "caption": "" if start else video.caption, **shared}
        example |= zip(("moments", "mirrored"), moments_VFhwM, strict=False)
        if video.text_LE is not None:
            example[TEXT] = video.text_LE[:0] if start else video.text_LE
        data = serialize_example(features, example)
        yield data, hashlib.sha256(data).hexdigest()


def _features(
    shape_hwM: tuple[int, int, int], flip: bool, text_info: TextInfo | None
) -> tfds.features.FeaturesDict:
    """The features of a record whose frames are moments of that shape."""
    # Other encodings store float16 as float32.
    moments = tfds.features.Tensor(shape=(None, *shape_hwM), dtype=np.float16, encoding="bytes")
    features = {"moments": moments, **video_features(text_info.width if text_info else None)}
    if flip:
        features["mirrored"] = moments
    return tfds.features.FeaturesDict(features)
