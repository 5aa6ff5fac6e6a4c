"""TaiChi-HD, in the layouts of docs/data.md: `<film>#<first frame>#<last frame>`.

A film is a video of YouTube, cut into several clips. In some copies `_` stands for `#`, because
shells and URLs cut names off there.

Source: https://github.com/AliaksandrSiarohin/video-preprocessing (taichi).
"""

import re
from dataclasses import dataclass, replace

from glober_jax.data.media.media_options import MediaOptions
from glober_jax.data.media.tree import Listing, find_videos, inside_splits

_CLIP = re.compile(r"(?P<film>.+?)(#\d+#\d+|_\d{6}_\d{6})")


@dataclass(frozen=True, kw_only=True)
class TaichiHdOptions(MediaOptions):
    """Each field is the flag of the same name; see `MediaOptions`."""

    size: int = 256


def list_inputs(options: TaichiHdOptions) -> Listing:
    """The clips, grouped by film; raises UserError where there are none."""
    listing = inside_splits(
        find_videos(
            options.input, "MP4 files or folders of frames, in folders train and test if any"
        )
    )
    clips = [_CLIP.fullmatch(item.name) for item in listing.items]
    grouped = [
        replace(item, group=clip["film"] if clip else "")
        for item, clip in zip(listing.items, clips, strict=True)
    ]
    return replace(listing, items=grouped)
