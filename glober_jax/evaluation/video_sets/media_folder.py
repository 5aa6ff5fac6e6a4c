"""Sets of videos in a folder: folders of frames, or lossless video files.

Dimension key: F chosen frames, H, W frame size, C = 3 colours.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
from PIL import Image

from glober_jax.data.media import picture
from glober_jax.data.media.decode import UndecodableError, decode_media
from glober_jax.data.media.tree import Listing, MediaItem, find_media
from glober_jax.errors import UserError
from glober_jax.evaluation.video_sets.video_set import VideoSet, pixels

# FFmpeg's names of codecs that give back every pixel they were given.
_LOSSLESS = frozenset(
    ("ffv1", "ffvhuff", "huffyuv", "lagarith", "magicyuv", "png", "qtrle", "rawvideo", "utvideo")
)
_LOSSY_IMAGES = frozenset((".jpg", ".jpeg", ".webp"))
_BYTES_AT_ONCE = 1 << 24


def open_folder(path: Path) -> VideoSet:
    """The videos below a folder, in natural order; those in folders of their own have classes.

    Frames may be of any image format; grey ones become RGB, and what is compressed with loss is
    noted. Sizes and lengths come from headers: damage shows when frames are read.

    Raises:
      UserError: there are no videos, a file is unreadable or compressed with loss, or the first
        frames differ in size.
    """
    listing = find_media(path)
    items = listing.items
    if not items:
        raise UserError(
            f"{path} holds no videos: expected a folder of frames (PNG, JPEG) for each video, "
            "lossless video files, or a .npy or .npz file"
        )
    headers = [
        _frames_header(item) if item.is_images else _file_header(item, path) for item in items
    ]
    lengths, sizes, notes_of_videos = zip(*headers, strict=True)
    for item, size in zip(items, sizes, strict=True):
        if size != sizes[0]:
            raise _other_size(item.files[0], size, items[0].files[0], sizes[0])
    notes = dict.fromkeys(note for notes in notes_of_videos for note in notes)
    labels, class_names = _classes(items)

    def read(index: int, frames: Sequence[int]) -> np.ndarray:
        frames_FHWC = _read(items[index], frames)
        for frame_HWC in frames_FHWC:
            if frame_HWC.shape[:2] != sizes[0]:
                place, first = items[index].files[0], items[0].files[0]
                raise _other_size(place, frame_HWC.shape[:2], first, sizes[0])
        return np.stack(frames_FHWC)

    return VideoSet(
        source=str(path),
        size=sizes[0],
        names=tuple(item.video_id for item in items),
        lengths=lengths,
        labels=labels,
        class_names=class_names,
        notes=(*notes, *_folder_notes(listing)),
        read_frames=read,
        content=lambda index: _stored_bytes(items[index]),
    )


# Frames, height and width, notes.
_Header = tuple[int, tuple[int, int], tuple[str, ...]]


def _frames_header(item: MediaItem) -> _Header:
    file = item.files[0]
    try:
        with Image.open(file) as image:
            width, height = picture.size_of_image(image)
            grey = image.mode in ("L", "LA", "1") or image.mode.startswith("I;16")
    except (OSError, SyntaxError, ValueError) as error:
        raise _damaged(file, str(error)) from error
    notes = ["Some frames are grey; all three colours are given their values."] if grey else []
    if any(path.suffix.lower() in _LOSSY_IMAGES for path in item.files):
        notes.append(
            "Frames are stored as JPEG or WebP: what that compression did to them is measured too."
        )
    return len(item.files), (height, width), tuple(notes)


def _file_header(item: MediaItem, folder: Path) -> _Header:
    file = item.files[0]
    try:
        with av.open(str(file)) as container:
            if not container.streams.video:
                raise _damaged(file, "it holds no video")
            stream = container.streams.video[0]
            codec = stream.codec_context
            if codec.name not in _LOSSLESS:
                raise _lossy(file, codec.name, folder)
            pixel_format = codec.pix_fmt or ""
            # Not every container says its number of frames; here every packet is one.
            length = sum(1 for packet in container.demux(stream) if packet.size)
    except (OSError, UnicodeError, av.FFmpegError) as error:
        raise _damaged(file, getattr(error, "strerror", None) or str(error)) from error
    if length == 0:
        raise _damaged(file, "it holds no frames")
    (first_HWC,) = _read(item, [0])
    notes = []
    if pixel_format.startswith("yuv"):
        notes.append(
            f"Video files store colours as {pixel_format}; frames that were RGB before lost some "
            "colour there (FFV1 keeps it with -pix_fmt bgr0)."
        )
    return length, first_HWC.shape[:2], tuple(notes)


def _read(item: MediaItem, frames: Sequence[int]) -> list[np.ndarray]:
    """Chosen frames, each uint8 [H, W, C]."""
    if item.is_images:
        # Each file is decoded once, and only those that are asked for.
        chosen = replace(item, files=tuple(item.files[t] for t in frames))
        wanted = range(len(frames))
    else:
        chosen, wanted = item, frames
    found: dict[int, np.ndarray] = {}
    try:
        decoded = decode_media(chosen, on_bytes=lambda count: None)
        for t, image in enumerate(decoded.frames):
            if t in wanted:
                found[t] = np.asarray(image)
            if t >= max(wanted):
                break
    except UndecodableError as error:
        raise _damaged(item.files[0], str(error)) from error
    # An image that cannot be read is passed over, which would move all later ones.
    if decoded.warnings or any(t not in found for t in wanted):
        raise _damaged(
            chosen.files[0].parent if item.is_images else item.files[0], *decoded.warnings
        )
    return [found[t] for t in wanted]


def _classes(items: Sequence[MediaItem]) -> tuple[tuple[int, ...] | None, tuple[str, ...]]:
    names = [item.class_name for item in items]
    if None in names:
        return None, ()
    class_names = tuple(sorted(set(names)))
    return tuple(class_names.index(name) for name in names), class_names


def _folder_notes(listing: Listing) -> list[str]:
    notes = [
        f"{rejected.video_id} {rejected.reason}; it is left out." for rejected in listing.rejections
    ]
    notes += [f"{notice[0].upper()}{notice[1:]}." for notice in listing.notices]
    splits = sorted({item.split for item in listing.items if item.split})
    if len(splits) > 1:
        notes.append(f"The folder holds the splits {' and '.join(splits)}; all videos are read.")
    return notes


def _stored_bytes(item: MediaItem) -> Iterator[bytes]:
    for path in item.files:
        try:
            with path.open("rb") as file:
                while piece := file.read(_BYTES_AT_ONCE):
                    yield piece
        except OSError as error:
            raise _damaged(path, error.strerror or str(error)) from error


def _damaged(path: Path, *reasons: str) -> UserError:
    reason = "; ".join(reasons) or "it holds fewer frames than it says"
    return UserError(f"{path} cannot be read: {reason}; copy it again, or take the video out")


def _lossy(path: Path, codec: str, folder: Path) -> UserError:
    loss = "keeps 256 colours a frame" if codec == "gif" else "compresses with loss"
    data = shlex.quote(f"{folder}_prepared")
    return UserError(
        f"{path} is stored as {codec}, which {loss}, and that alone can cost an FVD of 80: give "
        "generated videos as the frames.npz that `python -m glober_jax.sample --save_arrays` "
        "writes, others as folders of PNG frames or FFV1 files; real videos come down to the size "
        "of the generated ones, whatever they are stored as, by `python -m glober_jax.prepare "
        f"video_folder --input={shlex.quote(str(folder))} --output={data} --size=SIZE`, and are "
        f"then given as --real={data}"
    )


def _other_size(
    path: Path, size: tuple[int, int], first: Path, first_size: tuple[int, int]
) -> UserError:
    return UserError(
        f"{path} has frames of {pixels(size)} and {first} of {pixels(first_size)}: all videos of "
        "a set must have one size, so resize them all to it first"
    )
