"""Videos made of videos: reconstructed, slowed down, or half way between two.

Dimension key: S clips of a video, N videos, T frames of a given video, H, W, G global feature.
"""

import numpy as np
from etils import epath

from glober_jax.errors import UserError
from glober_jax.progress import Progress
from glober_jax.sampling.folder import VideoFile
from glober_jax.sampling.glober import Glober
from glober_jax.sampling.indices import frame_indices


def retime(
    model: Glober,
    video_THWC: np.ndarray,
    path: epath.Path,
    *,
    rate: float,
    seed: int,
    fps: float,
    arrays: bool,
) -> int:
    """Encodes a video clip by clip and writes it decoded at `rate` frames per frame.

    Rate 1 reconstructs it, 2 plays at half the speed. The last clip may be shorter. Returns the
    number of frames written. Raises `UserError` where the video has too few frames, or `path`,
    without suffix, cannot be written.
    """
    length = model.clip.num_frames
    clips = [video_THWC[first : first + length] for first in range(0, len(video_THWC), length)]
    if len(clips) > 1 and len(clips[-1]) < model.networks.num_key_frames:
        clips[-2:] = [np.concatenate(clips[-2:])]
    indices = [frame_indices(len(clip), rate=rate) for clip in clips]
    total = sum(map(len, indices))
    size = model.networks.frame_size
    with (
        VideoFile(path, total, size, fps, arrays=arrays) as file,
        Progress("frames", total, unit="frame") as progress,
    ):
        for number, (clip_THWC, index_n) in enumerate(zip(clips, indices, strict=True)):
            feature = model.encode(clip_THWC)
            for chunk in model.chunks(feature, index_n, seed=seed, first_video=number):
                file.add(chunk.frames[0])
                progress.advance(chunk.frames.shape[1])
    return total


def between(
    model: Glober, first_THWC: np.ndarray, second_THWC: np.ndarray, count: int
) -> np.ndarray:
    """Features from the first clip of one video to that of another: [N, H, W, G].

    Raises `UserError` for fewer than two features, or a video of too few frames.
    """
    if count < 2:
        raise UserError(f"--num_videos={count}: from one video to another there are at least 2")
    length = model.clip.num_frames
    return on_the_way(*(model.encode(video[:length]) for video in (first_THWC, second_THWC)), count)


def on_the_way(a_1HWG: np.ndarray, b_1HWG: np.ndarray, count: int) -> np.ndarray:
    """Global features spread evenly over the line from a to b, ends included: [N, H, W, G]."""
    weight_N111 = np.linspace(0, 1, count, dtype=np.float32)[:, None, None, None]
    return a_1HWG + (b_1HWG - a_1HWG) * weight_N111
