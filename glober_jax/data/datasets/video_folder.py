"""The video-folder dataset: anybody's videos, cropped square, as short records of JPEG frames.

Each input is decoded once, frame by frame, into a spool file of JPEG frames on disk. Only when it
is known which inputs are usable and how long they are, splits are chosen and records written, so
memory stays at one record whatever the length of a video.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from glober_jax.data.building.split_plan import SplitPlan, Stretch, plan_splits
from glober_jax.data.frames import encode_jpeg, fit_square
from glober_jax.data.media.captions import (
    TextEncoder,
    caption_beside,
    captions_digest,
    read_captions,
)
from glober_jax.data.media.decode import UndecodableError, decode_media
from glober_jax.data.media.tree import MediaItem, Rejection, find_media, natural_key
from glober_jax.data.schema import (
    TextInfo,
    VideoDatasetBuilder,
    VideoRecord,
    write_records,
)
from glober_jax.errors import UserError


@dataclass(frozen=True)
class VideoFolderOptions:
    """How to turn a folder into a dataset; each field is the flag of the same name."""

    input: str
    size: int = 64
    fps: float | None = None
    min_frames: int = 16
    max_frames: int = 128
    test_fraction: float = 0.1
    class_folders: bool = False
    captions: str | None = None
    clip: str | None = None

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UserError(f"--size must be at least 1, not {self.size}")
        if self.fps is not None and self.fps <= 0:
            raise UserError(f"--fps must be positive, not {self.fps:g}")
        if self.min_frames < 1:
            raise UserError(f"--min_frames must be at least 1, not {self.min_frames}")
        if self.max_frames < 2 * self.min_frames:
            raise UserError(
                f"--max_frames={self.max_frames} must be at least twice --min_frames="
                f"{self.min_frames}, or cutting a long video would leave pieces that are too short"
            )
        if not 0 < self.test_fraction <= 0.5:
            raise UserError(f"--test_fraction must be in (0, 0.5], not {self.test_fraction:g}")
        if self.captions is not None and self.clip is None:
            raise UserError("--captions needs --clip=DIR, the CLIP checkpoint that embeds them")


class VideoFolder(VideoDatasetBuilder, skip_registration=True):
    """TFDS builder of a folder of videos."""

    name = "video_folder"
    description = "Videos from a folder, cropped square."


@dataclass(frozen=True)
class SpooledVideo:
    """A usable input as JPEG frames in one file; frame i ends at byte `ends[i]`."""

    item: MediaItem
    fps: float
    path: Path
    ends: Sequence[int]
    warnings: tuple[str, ...]
    text_path: Path | None

    def read(self, start: int, stop: int) -> list[bytes]:
        """JPEG bytes of frames `start` to `stop` (excluded)."""
        bounds = [0, *self.ends][start : stop + 1]
        with self.path.open("rb") as spool:
            spool.seek(bounds[0])
            return [spool.read(end - begin) for begin, end in itertools.pairwise(bounds)]

    def text(self) -> np.ndarray | None:
        """Token embeddings of the caption, float16 [L, E]; None where captions are not wanted."""
        return None if self.text_path is None else np.load(self.text_path)


def list_inputs(options: VideoFolderOptions) -> tuple[list[MediaItem], list[Rejection]]:
    """What there is to decode, and what is rejected by its place or for want of a caption.

    Raises:
      UserError: the input folder is missing or holds no video; the captions cannot be read, or
        name none of them.
    """
    items, rejections = find_media(Path(options.input))
    if not items:
        raise UserError(
            f"--input={options.input} holds no videos: expected video files (mp4, avi, mov, mkv, "
            "webm, gif) or folders of numbered images (jpg, png, webp, bmp), at any depth"
        )
    has_test_folder = any(item.split == "test" for item in items)
    accepted = []
    for item in items:
        if has_test_folder and item.split is None:
            rejections.append(Rejection(item.video_id, "lies outside the train and test folders"))
        elif options.class_folders and item.class_name is None:
            rejections.append(Rejection(item.video_id, "lies in no class folder"))
        else:
            accepted.append(item)
    return _add_captions(accepted, options, rejections), rejections


def _add_captions(
    items: list[MediaItem], options: VideoFolderOptions, rejections: list[Rejection]
) -> list[MediaItem]:
    """The items that have captions, with them; the others are rejected. All, if none are wanted."""
    if options.clip is None:
        return items
    if options.captions is None:
        found = [caption_beside(item) for item in items]
        reason = "has no caption: no text file of that name beside it"
    else:
        captions = read_captions(Path(options.captions))
        found = [captions.get(item.video_id, "") for item in items]
        reason = "has no caption in --captions"
        if items and not any(found):
            raise UserError(
                f"--captions={options.captions} names none of the videos, which are called like "
                f"{items[0].video_id}: its column path must hold paths relative to --input"
            )
    pairs = list(zip(items, found, strict=True))
    rejections.extend(Rejection(item.video_id, reason) for item, caption in pairs if not caption)
    return [replace(item, caption=caption) for item, caption in pairs if caption]


def write_video_folder(
    options: VideoFolderOptions,
    items: Sequence[MediaItem],
    rejections: Sequence[Rejection],
    folder: Path,
    on_bytes: Callable[[int], None],
    encoder: TextEncoder | None = None,
) -> dict[str, object]:
    """Decodes `items` and writes the dataset into `folder`.

    Args:
      options: how to.
      items, rejections: from `list_inputs`.
      folder: where; also holds the spool files for the time being.
      on_bytes: called with the number of input bytes consumed since the last call.
      encoder: what embeds the items' captions; without it none are stored.

    Returns:
      A report for `prepare.json`: counts per split, how the split was made, what was rejected or
      damaged and why.

    Raises:
      UserError: no input is usable, or nothing could be held out for testing.
    """
    spool = folder / "spool"
    spool.mkdir()
    videos, undecodable = _spool_all(items, options, spool, on_bytes, encoder)
    rejections = [*rejections, *undecodable]
    if not videos:
        reasons = "\n".join(f"  {r.video_id}: {r.reason}" for r in rejections)
        raise UserError(f"none of the videos in --input={options.input} can be used:\n{reasons}")
    plan = plan_splits(
        [len(video.ends) for video in videos],
        [video.item.split for video in videos],
        min_frames=options.min_frames,
        max_frames=options.max_frames,
        test_fraction=options.test_fraction,
    )
    class_names = _class_names(videos) if options.class_folders else ()
    _write(plan, videos, class_names, folder, _text_info(videos, encoder))
    return _report(plan, videos, class_names, rejections)


def _spool_all(
    items: Sequence[MediaItem],
    options: VideoFolderOptions,
    spool: Path,
    on_bytes: Callable[[int], None],
    encoder: TextEncoder | None,
) -> tuple[list[SpooledVideo], list[Rejection]]:
    """Decodes every input; `on_bytes` adds up to each input's size, used or not."""
    videos: list[SpooledVideo] = []
    rejections: list[Rejection] = []
    for number, item in enumerate(items):
        remaining = item.num_bytes()

        def count(num_bytes: int) -> None:
            nonlocal remaining
            remaining -= num_bytes
            on_bytes(num_bytes)

        try:
            video = _spool_video(item, options, spool / f"{number:08d}", count)
            videos.append(_spool_text(video, encoder))
        except UndecodableError as error:
            rejections.append(Rejection(item.video_id, str(error)))
        on_bytes(remaining)
    return videos, rejections


def _spool_video(
    item: MediaItem, options: VideoFolderOptions, path: Path, on_bytes: Callable[[int], None]
) -> SpooledVideo:
    """Decodes one input into a spool file; raises UndecodableError if too little comes out."""
    ends: list[int] = []
    decoded = decode_media(item, options.fps, on_bytes)
    with path.open("wb") as spool:
        for frame in decoded.frames:
            spool.write(encode_jpeg(fit_square(frame, options.size)))
            ends.append(spool.tell())
    if len(ends) < options.min_frames:
        found = f"has {len(ends)} usable frames, fewer than --min_frames={options.min_frames}"
        raise UndecodableError("; ".join([found, *decoded.warnings]))
    return SpooledVideo(item, decoded.fps, path, ends, tuple(decoded.warnings), None)


def _spool_text(video: SpooledVideo, encoder: TextEncoder | None) -> SpooledVideo:
    """Embeds the caption of a usable video into a file beside its frames."""
    if encoder is None:
        return video
    path = video.path.with_suffix(".npy")
    np.save(path, encoder([video.item.caption])[0])
    return replace(video, text_path=path)


def _text_info(videos: Sequence[SpooledVideo], encoder: TextEncoder | None) -> TextInfo | None:
    if encoder is None:
        return None
    digest = captions_digest({video.item.video_id: video.item.caption for video in videos})
    return TextInfo(encoder.length, encoder.width, encoder.digest, digest)


def _class_names(videos: Sequence[SpooledVideo]) -> tuple[str, ...]:
    names = {video.item.class_name for video in videos if video.item.class_name is not None}
    return tuple(sorted(names, key=natural_key))


def _write(
    plan: SplitPlan,
    videos: Sequence[SpooledVideo],
    class_names: tuple[str, ...],
    folder: Path,
    text_info: TextInfo | None,
) -> None:
    labels = {name: label for label, name in enumerate(class_names)}

    def records(stretches: Sequence[Stretch]) -> Iterator[VideoRecord]:
        for stretch in stretches:
            video = videos[stretch.video]
            whole = (stretch.start, stretch.stop) == (0, len(video.ends))
            yield VideoRecord(
                video.item.video_id + ("" if whole else f"[{stretch.start}:{stretch.stop}]"),
                labels.get(video.item.class_name, 0),
                video.fps,
                video.read(stretch.start, stretch.stop),
                video.item.caption,
                video.text(),
            )

    splits = {"train": lambda: records(plan.train), "test": lambda: records(plan.test)}
    builder = VideoFolder(
        splits=splits, class_names=class_names, data_dir=folder, text_info=text_info
    )
    write_records(builder)


def _report(
    plan: SplitPlan,
    videos: Sequence[SpooledVideo],
    class_names: tuple[str, ...],
    rejections: Sequence[Rejection],
) -> dict[str, object]:
    return {
        "accepted": len(videos),
        "split": plan.summary,
        "splits": {
            name: {
                "videos": len({stretch.video for stretch in stretches}),
                "records": len(stretches),
                "frames": sum(stretch.stop - stretch.start for stretch in stretches),
            }
            for name, stretches in (("train", plan.train), ("test", plan.test))
        },
        "class_names": list(class_names),
        "warnings": [
            {"video": video.item.video_id, "warning": warning}
            for video in videos
            for warning in video.warnings
        ],
        "rejected": [{"video": r.video_id, "reason": r.reason} for r in rejections],
    }
