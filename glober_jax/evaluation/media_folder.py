"""Sets of videos in a folder: folders of frames, or lossless video files.

Dimension key: F chosen frames, H, W frame size, C = 3 colours.
"""

import contextlib
import dataclasses
import itertools
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from PIL import Image

from glober_jax.data.media.decode import UndecodableError, decode_media
from glober_jax.data.media.tree import Listing, MediaItem, find_media
from glober_jax.errors import UserError
from glober_jax.evaluation.video_set import VideoSet, pixels

# FFmpeg's names of lossless codecs.
_LOSSLESS = frozenset(
    ("ffv1", "ffvhuff", "huffyuv", "lagarith", "magicyuv", "png", "qtrle", "rawvideo", "utvideo")
)


def open_folder(path: Path) -> VideoSet:
    """The videos below a folder, in natural order; subfolders are classes.

    Raises `UserError` where there are no videos, or one is unreadable, lossily compressed, or of
    another size than the first.
    """
    listing = find_media(path)
    items = listing.items
    if not items:
        raise UserError(
            f"{path} holds no videos: expected a folder of frames (PNG, JPEG) for each video, "
            "lossless video files, or a .npy or .npz file"
        )
    lengths, sizes, notes = zip(*(_header(item, path) for item in items), strict=True)

    def check_size(item: MediaItem, size: tuple[int, int]) -> None:
        if size != sizes[0]:
            raise UserError(
                f"{item.files[0]} has frames of {pixels(size)} and {items[0].files[0]} of "
                f"{pixels(sizes[0])}: all videos of a set must have one size; resize them first"
            )

    for item, size in zip(items, sizes, strict=True):
        check_size(item, size)
    names = {item.class_name for item in items}
    classes = () if None in names else tuple(sorted(names))

    def read(index: int, frames: Sequence[int]) -> np.ndarray:
        frames_FHWC = _read(items[index], frames)
        for frame_HWC in frames_FHWC:
            check_size(items[index], frame_HWC.shape[:2])
        return np.stack(frames_FHWC)

    def content(index: int) -> Iterator[bytes]:
        for file in items[index].files:
            with _damage(file):
                yield file.read_bytes()

    return VideoSet(
        source=str(path),
        size=sizes[0],
        names=tuple(item.video_id for item in items),
        lengths=lengths,
        labels=tuple(classes.index(item.class_name) for item in items) if classes else None,
        class_names=classes,
        notes=(*dict.fromkeys(itertools.chain(*notes)), *_listing_notes(listing)),
        read=read,
        content=content,
    )


def _header(item: MediaItem, folder: Path) -> tuple[int, tuple[int, int], list[str]]:
    """Number of frames, height and width of the first one, and notes."""
    file, notes = item.files[0], []
    with _damage(file):
        if item.is_images:
            length = len(item.files)
            with Image.open(file) as image:
                if image.mode in ("L", "LA", "1") or image.mode.startswith("I;16"):
                    notes.append("Some frames are grey; all three colours are given their values.")
            if any(path.suffix.lower() in (".jpg", ".jpeg", ".webp") for path in item.files):
                notes.append("Frames are JPEG or WebP, so the score includes their compression.")
        else:
            length, pixel_format = _inspect(file, folder)
            if pixel_format.startswith("yuv"):
                notes.append(
                    f"Video files store colours as {pixel_format}, which loses some of the colour "
                    "of RGB frames (FFV1 keeps it with -pix_fmt bgr0)."
                )
    (first_HWC,) = _read(item, [0])
    return length, first_HWC.shape[:2], notes


def _inspect(file: Path, folder: Path) -> tuple[int, str]:
    """Number of frames and pixel format of a video file."""
    with av.open(str(file)) as container:
        if not container.streams.video:
            raise UndecodableError("it holds no video")
        codec = container.streams.video[0].codec_context
        if codec.name not in _LOSSLESS:
            loss = "keeps 256 colours a frame" if codec.name == "gif" else "compresses with loss"
            data = shlex.quote(f"{folder}_prepared")
            raise UserError(
                f"{file} is stored as {codec.name}, which {loss} and can cost an FVD of 80: give "
                "generated videos as frames.npz (`python -m glober_jax.sample --save_arrays`), PNG "
                "frames or FFV1; prepare real videos with `python -m glober_jax.prepare "
                f"video_folder --input={shlex.quote(str(folder))} --output={data} --size=SIZE` and "
                f"give --real={data}"
            )
        # Some containers do not know their number of frames; here a packet is a frame.
        packets = container.demux(container.streams.video[0])
        return sum(1 for packet in packets if packet.size), codec.pix_fmt or ""


def _read(item: MediaItem, frames: Sequence[int]) -> list[np.ndarray]:
    """Chosen frames, each uint8 [H, W, C]; of images only these are decoded."""
    place, wanted = item.files[0], frames
    if item.is_images:
        item = dataclasses.replace(item, files=tuple(item.files[t] for t in frames))
        place, wanted = place.parent, range(len(frames))
    found: dict[int, np.ndarray] = {}
    with _damage(place):
        decoded = decode_media(item)
        for t, image in enumerate(decoded.frames):
            if t in wanted:
                found[t] = np.asarray(image)
            if t >= max(wanted):
                break
        # The decoder skips unreadable images, which would shift all later ones.
        if decoded.warnings or any(t not in found for t in wanted):
            reason = "; ".join(decoded.warnings) or "it holds fewer frames than it says"
            raise UndecodableError(reason)
    return [found[t] for t in wanted]


def _listing_notes(listing: Listing) -> list[str]:
    notes = [f"{found.video_id} {found.reason}; it is left out." for found in listing.rejections]
    notes += [f"{notice[0].upper()}{notice[1:]}." for notice in listing.notices]
    splits = sorted({item.split for item in listing.items if item.split})
    if len(splits) > 1:
        notes.append(f"The folder holds the splits {' and '.join(splits)}; all videos are read.")
    return notes


@contextlib.contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turns what the libraries raise for damaged media into a `UserError`."""
    try:
        yield
    except (OSError, SyntaxError, ValueError, av.FFmpegError, UndecodableError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"{path} cannot be read: {reason}; copy it again, or take the video out"
        ) from error
