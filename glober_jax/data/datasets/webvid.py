"""WebVid and its like: video files, and a table of their captions.

    results.csv       videoid,contentUrl,duration,page_dir,name     `name` is the caption
    <input>/<page_dir>/<videoid>.mp4, or <videoid>.mp4 in any folder
    captions.csv      path,caption                                  or the same as JSON lines
    <input>/<path>
    <input>/00000/000000012.mp4 and 000000012.txt                   as video2dataset writes them

Folders named train, test and val make the splits.

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
