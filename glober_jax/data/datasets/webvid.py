"""WebVid and its like, in the layouts of docs/data.md: video files, and their captions.

Source: https://github.com/m-bain/webvid, https://github.com/iejMac/video2dataset.
"""

from dataclasses import dataclass

from glober_jax.data.media.captions import add_captions
from glober_jax.data.media.media_options import MediaOptions
from glober_jax.data.media.tree import Listing, find_videos, inside_splits


@dataclass(frozen=True, kw_only=True)
class WebvidOptions(MediaOptions):
    """Each field is the flag of the same name.

    Attributes:
      captions: the table; None takes the text file beside each video.
      clip: folder of the CLIP checkpoint that embeds the captions; None stores them as they are.
    """

    size: int = 256
    captions: str | None = None
    clip: str | None = None


def list_inputs(options: WebvidOptions) -> Listing:
    """The videos that have a caption, with it.

    Raises:
      UserError: the input is missing or holds no videos; the captions cannot be read, or name none
        of them.
    """
    videos = find_videos(options.input, "video files, such as 123456.mp4")
    return add_captions(inside_splits(videos), options.captions)
