"""The video-folder dataset: anybody's videos, with classes by folder or captions on request."""

from dataclasses import dataclass, replace
from pathlib import Path

from glober_jax.data.media.captions import caption_beside, read_captions
from glober_jax.data.media.options import MediaOptions
from glober_jax.data.media.tree import Listing, MediaItem, Rejection, find_media
from glober_jax.errors import UserError


@dataclass(frozen=True, kw_only=True)
class VideoFolderOptions(MediaOptions):
    """How to turn a folder into a dataset; each field is the flag of the same name."""

    class_folders: bool = False
    captions: str | None = None
    clip: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.captions is not None and self.clip is None:
            raise UserError("--captions needs --clip=DIR, the CLIP checkpoint that embeds them")


def list_inputs(options: VideoFolderOptions) -> Listing:
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
    accepted = _add_captions(accepted, options, rejections)
    class_names = None if options.class_folders else ()
    return Listing(tuple(accepted), tuple(rejections), class_names)


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
