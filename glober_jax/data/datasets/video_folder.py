"""The video-folder dataset: any videos, with classes by folder or captions."""

from dataclasses import dataclass, replace

from glober_jax.data.media.captions import add_captions
from glober_jax.data.media.media_options import MediaOptions
from glober_jax.data.media.order import natural_key
from glober_jax.data.media.tree import Listing, Rejection, find_media, inside_splits
from glober_jax.errors import UserError


@dataclass(frozen=True, kw_only=True)
class VideoFolderOptions(MediaOptions):
    """Each field is the flag of the same name.

    Attributes:
      max_frames: as there. Whole, a minute and a second of video would count alike.
      class_folders: whether the first folder below train and test is a video's class.
      captions: table of path,caption; with `clip` alone, the text file beside each video.
      clip: folder of the CLIP checkpoint that embeds captions; None stores them as they are.
    """

    max_frames: int | None = 256
    class_folders: bool = False
    captions: str | None = None
    clip: str | None = None


def list_inputs(options: VideoFolderOptions) -> Listing:
    """What there is to decode, and what is rejected by its place or for want of a caption.

    Raises:
      UserError: the input folder is missing or holds no video; the captions cannot be read, or
        name none of them.
    """
    listing = find_media(options.input)
    if not listing.items:
        seen = "".join(f"; {name} {reason}" for name, reason in listing.rejections[:1])
        raise UserError(
            f"--input={options.input} holds no videos: expected video files (mp4, avi, mov, mkv, "
            "webm, gif, mpg, wmv, ...) or folders of numbered images (jpg, png, tif, webp, ...), "
            f"at any depth{seen}"
        )
    if options.class_folders:
        listing = _in_classes(inside_splits(_with_class_train(listing)))
    else:
        listing = inside_splits(listing)
    if options.captions or options.clip:
        listing = add_captions(listing, options.captions)
    if options.class_folders:
        names = sorted({item.class_name for item in listing.items}, key=natural_key)
        listing = replace(listing, class_names=tuple(names))
    return listing


def _with_class_train(listing: Listing) -> Listing:
    """A folder train among other folders is a class of that name where there is no test split."""
    beside = any(item.split is None and item.folders for item in listing.items)
    if not beside or any(item.split == "test" for item in listing.items):
        return listing
    unsplit = [
        replace(item, split=None, class_name=item.folders[0] if item.folders else None)
        for item in listing.items
    ]
    return replace(listing, items=unsplit)


def _in_classes(listing: Listing) -> Listing:
    """The videos that have a class; the others are rejected."""
    items = [item for item in listing.items if item.class_name is not None]
    rejections = tuple(
        Rejection(item.video_id, "lies in no class folder")
        for item in listing.items
        if item.class_name is None
    )
    return replace(listing, items=items, rejections=listing.rejections + rejections)
