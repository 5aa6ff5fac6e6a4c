"""Datasets that are folders of video files and frames, in the layouts of docs/data.md.

Videos cut from one film form a group, which is never divided between train and test.

Sources: Sky Time-lapse, https://github.com/weixiong-ur/mdgan; TaiChi-HD,
https://github.com/AliaksandrSiarohin/video-preprocessing (taichi); WebVid,
https://github.com/m-bain/webvid and https://github.com/iejMac/video2dataset.
"""

import re
from dataclasses import dataclass, replace
from typing import get_args

from glober_jax.data.frames import Fit
from glober_jax.data.media.captions import add_captions
from glober_jax.data.media.tree import (
    SPLIT_FOLDERS,
    Listing,
    MediaItem,
    find_media,
    find_videos,
    inside_splits,
    natural_key,
)
from glober_jax.errors import UserError

# <YouTube id>_<scene>
_SKY_SCENE = re.compile(r"(?P<film>[\w-]{11})_\d+")
# <film>#<first frame>#<last frame>, or `_` for `#`, at which shells and URLs cut names off.
_TAICHI_CLIP = re.compile(r"(?P<film>.+?)(#\d+#\d+|_\d{6}_\d{6})")


@dataclass(frozen=True, kw_only=True)
class MediaOptions:
    """Options of every dataset that is read from files: the flags of `prepare`, see docs/data.md.

    None for `fps` keeps every frame, for `max_frames` every video whole.
    """

    input: str
    size: int = 64
    fit: Fit = "crop"
    fps: float | None = None
    quality: int = 95
    min_frames: int = 16
    max_frames: int | None = None
    test_fraction: float = 0.1

    def __post_init__(self) -> None:
        fits = get_args(Fit)
        for name, holds, wanted in (
            ("size", self.size >= 1, "at least 1"),
            ("fit", self.fit in fits, f"one of {', '.join(fits)}"),
            ("fps", self.fps is None or self.fps > 0, "positive"),
            ("quality", 1 <= self.quality <= 100, "in 1..100"),
            ("min_frames", self.min_frames >= 1, "at least 1"),
            ("test_fraction", 0 < self.test_fraction <= 0.5, "in (0, 0.5]"),
        ):
            if not holds:
                raise UserError(f"--{name} must be {wanted}, not {getattr(self, name)}")
        if self.max_frames is not None and self.max_frames < 2 * self.min_frames:
            raise UserError(
                f"--max_frames={self.max_frames} must be at least twice --min_frames="
                f"{self.min_frames}, or cutting a long video would leave pieces that are too short"
            )


@dataclass(frozen=True, kw_only=True)
class SkyTimelapseOptions(MediaOptions):
    """See `MediaOptions`."""

    size: int = 256


@dataclass(frozen=True, kw_only=True)
class TaichiHdOptions(MediaOptions):
    """See `MediaOptions`."""

    size: int = 256


@dataclass(frozen=True, kw_only=True)
class WebvidOptions(MediaOptions):
    """See `VideoFolderOptions`; captions are needed, by default a text file beside each video."""

    size: int = 256
    captions: str | None = None
    clip: str | None = None


@dataclass(frozen=True, kw_only=True)
class VideoFolderOptions(MediaOptions):
    """See `MediaOptions`; long videos are cut, or an hour would count like a second.

    `clip` without `captions` takes the text file beside each video.
    """

    max_frames: int | None = 256
    class_folders: bool = False
    captions: str | None = None
    clip: str | None = None


def list_sky_timelapse(options: SkyTimelapseOptions) -> Listing:
    """The scenes, grouped by film; raises UserError where there are none."""
    found = find_videos(
        options.input,
        "the folders sky_train and sky_test, or any folders of frames or video files",
        # Left behind by StyleGAN-V's conversion.
        skip=("_broken_clips",),
        split_at_prefixes=True,
    )
    listing = inside_splits(found)
    films = [_film_of_scene(item) for item in listing.items]
    if len(set(films)) == 1:
        # What begins the name of every scene, as in clip_0001, is not the name of a film.
        films = [""] * len(films)
    items = [replace(item, group=film) for item, film in zip(listing.items, films, strict=True)]
    notices = listing.notices
    train, test = ({i.group for i in items if i.split == split} for split in ("train", "test"))
    if shared := sorted((train & test) - {""}):
        notices += (
            f"{len(shared)} films have scenes in both the train and the test folder, as "
            f"{shared[0]}: results on test scenes will look better than they are",
        )
    return replace(listing, items=items, notices=notices)


def _film_of_scene(item: MediaItem) -> str:
    """The film by the scene's folder or name; "" where neither says."""
    folder = item.folders[-1] if item.folders else ""
    if folder and folder.lower() not in SPLIT_FOLDERS and item.name.startswith(folder):
        return folder
    scene = _SKY_SCENE.fullmatch(item.name)
    return scene["film"] if scene else ""


def list_taichi_hd(options: TaichiHdOptions) -> Listing:
    """The clips, grouped by film; raises UserError where there are none."""
    expected = "MP4 files or folders of frames, in folders train and test if any"
    listing = inside_splits(find_videos(options.input, expected))
    clips = [_TAICHI_CLIP.fullmatch(item.name) for item in listing.items]
    grouped = [
        replace(item, group=clip["film"] if clip else "")
        for item, clip in zip(listing.items, clips, strict=True)
    ]
    return replace(listing, items=grouped)


def list_webvid(options: WebvidOptions) -> Listing:
    """The videos that have a caption; raises UserError as `find_videos` and `add_captions`."""
    videos = find_videos(options.input, "video files, such as 123456.mp4")
    return add_captions(inside_splits(videos), options.captions)


def list_video_folder(options: VideoFolderOptions) -> Listing:
    """The videos of any tree, with classes by folder or captions where asked for.

    Raises UserError where there are none, or the captions cannot be read or name none of them.
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
        listing = _with_class_train(listing)
    listing = inside_splits(_with_deep_splits_named(listing))
    if options.class_folders:
        listing = listing.keep(lambda item: item.class_name is not None, "lies in no class folder")
    if options.captions or options.clip:
        listing = add_captions(listing, options.captions)
    if options.class_folders:
        names = sorted({item.class_name for item in listing.items}, key=natural_key)
        listing = replace(listing, class_names=tuple(names))
    return listing


def _with_deep_splits_named(listing: Listing) -> Listing:
    """The listing with a notice of a test folder that makes no split, as it lies too deep."""
    if any(item.split for item in listing.items):
        return listing
    for item in listing.items:
        if any(SPLIT_FOLDERS.get(name.lower()) == "test" for name in item.folders[1:]):
            notice = (
                f"{item.video_id} lies in a folder for testing, but not directly in --input: train "
                "and test are not by these folders; to split by them, give the folder above them"
            )
            return replace(listing, notices=(*listing.notices, notice))
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
