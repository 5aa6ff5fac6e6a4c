"""The synthetic-sky dataset: videos drawn by `sky_render`, nothing to download.

Training and test scenes are numbered apart, so a test video is the same however many training
videos there are. Classes take turns: every four consecutive videos hold one of each.
"""

from dataclasses import dataclass
from typing import ClassVar

from PIL import Image

from glober_jax.data.datasets.sky_render import render_video
from glober_jax.data.datasets.sky_scene import CLASS_NAMES
from glober_jax.data.media.decode import DecodedVideo
from glober_jax.data.media.tree import Listing, MediaItem
from glober_jax.errors import UserError
from glober_jax.values import check_seed

# A multiple of the number of classes, so that test labels take turns from the first class on too.
_FIRST_TEST_SCENE = 1_000_000
_FPS = 25.0


@dataclass(frozen=True, kw_only=True)
class SyntheticSkyOptions:
    """What to draw: how many videos per split, frames per video, frame side in pixels, seed.

    `frame_step` 2 keeps every second frame of a scene.
    """

    num_videos: int = 512
    num_test_videos: int = 128
    num_frames: int = 24
    size: int = 64
    seed: int = 0
    frame_step: int = 1

    # Of `MediaOptions`, but no flags. At quality 95, JPEG's noise is a quarter of what changes from
    # one frame to the next.
    fit: ClassVar = "crop"
    quality: ClassVar = 100
    min_frames: ClassVar = 1
    max_frames: ClassVar = None
    test_fraction: ClassVar = 0.5

    def __post_init__(self) -> None:
        for name in ("num_videos", "num_test_videos", "num_frames", "size", "frame_step"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} must be at least 1, not {getattr(self, name)}")
        if self.num_videos > _FIRST_TEST_SCENE:
            raise UserError(f"--num_videos must be at most {_FIRST_TEST_SCENE}")
        check_seed(self.seed, "--seed")


@dataclass(frozen=True)
class SkyItem(MediaItem):
    """A scene to draw, which has no files; `num_pixels` are those of the whole video."""

    scene: int = 0
    num_pixels: int = 0

    def stat(self) -> tuple[int, int]:
        """Drawing a pixel takes as long as decoding four bytes; a scene never changes."""
        return 4 * self.num_pixels, 0


def list_synthetic_sky(options: SyntheticSkyOptions) -> Listing:
    """The scenes of both splits."""
    scenes = {
        "train": range(options.num_videos),
        "test": range(_FIRST_TEST_SCENE, _FIRST_TEST_SCENE + options.num_test_videos),
    }
    num_pixels = options.num_frames * options.size**2
    items = []
    for split, numbers in scenes.items():
        for scene in numbers:
            facts = (f"sky_{options.seed}_{scene:07d}", (), False, split, CLASS_NAMES[scene % 4])
            items.append(SkyItem(*facts, scene=scene, num_pixels=num_pixels))
    return Listing(items, class_names=CLASS_NAMES)


def draw(item: SkyItem, options: SyntheticSkyOptions) -> DecodedVideo:
    """The frames of a scene."""
    sizes = {"size": options.size, "num_frames": options.num_frames, "step": options.frame_step}
    frames_THWC = render_video(options.seed, item.scene, **sizes)
    return DecodedVideo(_FPS, map(Image.fromarray, frames_THWC))
