"""The video-folder dataset: anybody's videos, with classes by folder or captions on request."""

from dataclasses import dataclass
from pathlib import Path

from glober_jax.data.media.captions import add_captions
from glober_jax.data.media.options import MediaOptions
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
    items, rejections = find_media(Path(options.input))
    if not items:
        raise UserError(
            f"--input={options.input} holds no videos: expected video files (mp4, avi, mov, mkv, "
            "webm, gif) or folders of numbered images (jpg, png, webp, bmp), at any depth"
        )
    items, outside = inside_splits(items)
    rejections += outside
    if options.class_folders:
        homeless = [item for item in items if item.class_name is None]
        rejections += [Rejection(item.video_id, "lies in no class folder") for item in homeless]
        items = [item for item in items if item.class_name is not None]
    notices: list[str] = []
    if options.captions or options.clip:
        table = Path(options.captions) if options.captions else None
        items, uncaptioned, notices = add_captions(items, table)
        rejections += uncaptioned
    class_names = None if options.class_folders else ()
    return Listing(tuple(items), tuple(rejections), class_names, tuple(notices))
