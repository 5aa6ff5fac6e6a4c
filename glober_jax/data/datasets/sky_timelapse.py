"""Sky Time-lapse, in the layouts of docs/data.md.

A film is a video of YouTube, named by its id of 11 characters; its scenes are `<film>_1`,
`<film>_2`, ... StyleGAN-V's conversion leaves the folder `_broken_clips` behind.

Source: https://github.com/weixiong-ur/mdgan.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from glober_jax.data.media.media_options import MediaOptions
from glober_jax.data.media.tree import SPLIT_FOLDERS, Listing, MediaItem, find_videos, inside_splits

_SCENE = re.compile(r"(?P<film>[\w-]{11})_\d+")


@dataclass(frozen=True, kw_only=True)
class SkyTimelapseOptions(MediaOptions):
    """Each field is the flag of the same name; see `MediaOptions`."""

    size: int = 256


def list_inputs(options: SkyTimelapseOptions) -> Listing:
    """The scenes, grouped by film; raises UserError where there are none."""
    listing = inside_splits(
        find_videos(
            options.input,
            "the folders sky_train and sky_test, or any folders of frames or video files",
            skip=("_broken_clips",),
            split_at_prefixes=True,
        )
    )
    items = _grouped(listing.items)
    return replace(listing, items=items, notices=listing.notices + _shared_films(items))


def _grouped(items: Sequence[MediaItem]) -> list[MediaItem]:
    films = [_film(item) for item in items]
    if len(set(films)) == 1:
        # What begins the name of every scene, as in clip_0001, is not the name of a film.
        films = [""] * len(films)
    return [replace(item, group=film) for item, film in zip(items, films, strict=True)]


def _film(item: MediaItem) -> str:
    """The film that a scene is of, by its folder or its own name; "" where neither says."""
    folder = item.folders[-1] if item.folders else ""
    if folder and folder.lower() not in SPLIT_FOLDERS and item.name.startswith(folder):
        return folder
    scene = _SCENE.fullmatch(item.name)
    return scene["film"] if scene else ""


def _shared_films(items: Sequence[MediaItem]) -> tuple[str, ...]:
    train, test = ({i.group for i in items if i.split == split} for split in ("train", "test"))
    shared = sorted((train & test) - {""})
    if not shared:
        return ()
    return (
        f"{len(shared)} films have scenes in both the train and the test folder, as {shared[0]}: "
        "results on test scenes will look better than they are",
    )
