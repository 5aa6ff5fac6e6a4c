"""The synthetic-sky dataset: videos drawn by `sky_render`, nothing to download.

Training and test scenes are numbered apart, so a test video is the same however many training
videos there are. Classes take turns: every four consecutive videos hold one of each.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from glober_jax.data.datasets.sky_render import render_video
from glober_jax.data.datasets.sky_scene import CLASS_NAMES
from glober_jax.data.frames import encode_jpeg
from glober_jax.data.schema import VideoDatasetBuilder, VideoRecord, write_records
from glober_jax.errors import UserError

# A multiple of the number of classes, so that test labels take turns from the first class on too.
_FIRST_TEST_SCENE = 1_000_000
_FPS = 25.0


@dataclass(frozen=True)
class SyntheticSkyOptions:
    """What to draw: how many videos per split, frames per video, frame side in pixels, seed."""

    num_videos: int = 512
    num_test_videos: int = 128
    num_frames: int = 24
    size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_videos", "num_test_videos", "num_frames", "size"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} must be at least 1, not {getattr(self, name)}")
        if self.num_videos > _FIRST_TEST_SCENE:
            raise UserError(f"--num_videos must be at most {_FIRST_TEST_SCENE}")
        if self.seed < 0:
            raise UserError(f"--seed must not be negative, not {self.seed}")


class SyntheticSky(VideoDatasetBuilder, skip_registration=True):
    """TFDS builder of the synthetic sky."""

    name = "synthetic_sky"
    description = "Procedural sky time-lapse in four classes."


def write_synthetic_sky(
    options: SyntheticSkyOptions, folder: Path, on_video: Callable[[], None]
) -> dict[str, object]:
    """Draws and writes both splits into `folder`; calls `on_video` after each video.

    Returns:
      A report for `prepare.json`: videos and frames per split.
    """
    scenes = {
        "train": range(options.num_videos),
        "test": range(_FIRST_TEST_SCENE, _FIRST_TEST_SCENE + options.num_test_videos),
    }

    def draw(split: str) -> Iterator[VideoRecord]:
        for index in scenes[split]:
            yield _draw_video(options, index)
            on_video()

    splits = {split: lambda split=split: draw(split) for split in scenes}
    write_records(SyntheticSky(splits=splits, class_names=CLASS_NAMES, data_dir=folder))
    return {
        "splits": {
            split: {"videos": len(indices), "frames": len(indices) * options.num_frames}
            for split, indices in scenes.items()
        }
    }


def _draw_video(options: SyntheticSkyOptions, index: int) -> VideoRecord:
    frames_THWC, label = render_video(
        options.seed, index, size=options.size, num_frames=options.num_frames
    )
    frames = [encode_jpeg(Image.fromarray(frame_HWC)) for frame_HWC in frames_THWC]
    return VideoRecord(f"sky_{options.seed}_{index:07d}", label, _FPS, frames)
