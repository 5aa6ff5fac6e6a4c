"""The synthetic-sky dataset: videos drawn by `sky_render`, nothing to download.

Training and test scenes are numbered apart, so a test video is the same however many training
videos there are. Classes take turns: every four consecutive videos hold one of each.
"""

from dataclasses import dataclass

from PIL import Image

from glober_jax.data.building.pool import OnCount
from glober_jax.data.datasets.sky_render import render_video
from glober_jax.data.datasets.sky_scene import CLASS_NAMES
from glober_jax.data.media.decode import DecodedVideo
from glober_jax.data.media.tree import Listing
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

    def __post_init__(self) -> None:
        for name in ("num_videos", "num_test_videos", "num_frames", "size", "frame_step"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} must be at least 1, not {getattr(self, name)}")
        if self.num_videos > _FIRST_TEST_SCENE:
            raise UserError(f"--num_videos must be at most {_FIRST_TEST_SCENE}")
        check_seed(self.seed, "--seed")


@dataclass(frozen=True)
class SkyItem:
    """A scene to draw, as an input like any other."""

    scene: int
    video_id: str
    split: str
    class_name: str
    group: str = ""
    caption: str = ""

    def num_bytes(self) -> int:
        """One: videos are what is counted."""
        return 1

    def stamp(self) -> int:
        return 0


@dataclass(frozen=True)
class DrawSky:
    """Draws the frames of an item, of `seed`'s skies."""

    seed: int
    size: int
    num_frames: int
    frame_step: int

    def __call__(self, item: SkyItem, on_count: OnCount) -> DecodedVideo:
        del on_count  # A video is done at once.
        frames_THWC, _ = render_video(
            self.seed,
            item.scene,
            size=self.size,
            num_frames=self.num_frames,
            step=self.frame_step,
        )
        return DecodedVideo(_FPS, map(Image.fromarray, frames_THWC))


def list_inputs(options: SyntheticSkyOptions) -> Listing:
    """The scenes of both splits."""
    scenes = {
        "train": range(options.num_videos),
        "test": range(_FIRST_TEST_SCENE, _FIRST_TEST_SCENE + options.num_test_videos),
    }
    items = [
        SkyItem(
            scene,
            f"sky_{options.seed}_{scene:07d}",
            split,
            CLASS_NAMES[scene % len(CLASS_NAMES)],
        )
        for split, numbers in scenes.items()
        for scene in numbers
    ]
    return Listing(tuple(items), (), CLASS_NAMES)
