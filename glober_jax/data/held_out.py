"""Fixed evaluation clips of a split, spread over its videos.

Dimensions: N clips, T clip frames, K key frames, H rows, W columns, C channels, L tokens of a text,
E their width.
"""

from collections.abc import Iterator

import numpy as np

from glober_jax.data.clips import ClipSpec, centre_clip
from glober_jax.data.damage import DamagedVideo, DamageLog
from glober_jax.data.source import Video, VideoSource, check_length, check_some_length, read_frames
from glober_jax.errors import UserError

_GOLDEN_RATIO = (1 + 5**0.5) / 2


def eval_clips(
    source: VideoSource,
    spec: ClipSpec,
    num_clips: int,
    *,
    frame_size: int | None = None,
    damage: DamageLog | None = None,
) -> dict[str, np.ndarray | list[str]]:
    """The centre clips of N = min(num_clips, videos) videos spread over the source.

    One of each of N equal parts, always the same, but not at even distances, at which videos whose
    classes take turns might all be of one class. The next free video replaces a damaged one; at the
    end of the source there may be none, and fewer clips.

    Returns:
      `frames` [N, T, H, W, C], all frames of each clip; `index` float32 [T]; unless K is 0,
      `key_frames` [N, K, H, W, C]; `label` int32 [N]; `video_id`, a list of N names; where the
      source has texts, `text` float16 [N, L, E] and `caption`, a list of N.

    Raises:
      UserError: there is no video, none is as long as a clip, too many (by default, one) are
        damaged or too short for `damage`, or one is of another size.
    """
    count = min(num_clips, len(source))
    if count < 1:
        raise UserError(f"no clips to evaluate on: {num_clips} asked for, {len(source)} videos")
    check_some_length(source, spec, "videos")
    damage = DamageLog(len(source)) if damage is None else damage
    found = list(_centre_clips(source, spec, _spread(len(source), count), frame_size, damage))
    videos = [video for video, _ in found]
    frames_NTHWC = np.stack([frames_THWC for _, frames_THWC in found])
    clips: dict[str, np.ndarray | list[str]] = {
        "frames": frames_NTHWC,
        "index": centre_clip(spec.span, spec).target_index_n,
        "label": np.array([video.label for video in videos], np.int32),
        "video_id": [video.video_id for video in videos],
    }
    if spec.num_key_frames:
        clips["key_frames"] = frames_NTHWC[:, spec.key_positions]
    if source.text_info is not None:
        clips["text"] = np.stack([video.text_LE for video in videos])
        clips["caption"] = [video.caption for video in videos]
    return clips


def _spread(total: int, count: int) -> list[int]:
    """`count` of `total` places, ascending, one of each of `count` parts."""
    bounds = np.arange(count + 1) * total // count
    # Multiples of the golden ratio leave no pattern that a period in the videos could meet.
    offsets = np.arange(count) * _GOLDEN_RATIO % 1 * np.diff(bounds)
    return (bounds[:-1] + offsets.astype(int)).tolist()


def _centre_clips(
    source: VideoSource,
    spec: ClipSpec,
    wanted: list[int],
    frame_size: int | None,
    damage: DamageLog,
) -> Iterator[tuple[Video, np.ndarray]]:
    """For each of the ascending `wanted` the next video that can be used, and its centre clip."""
    free = 0
    for first in wanted:
        for index in range(max(free, first), len(source)):
            free = index + 1
            video = source[index]
            try:
                check_length(video, spec)
                clip = centre_clip(video.num_frames, spec)
                frames_THWC = read_frames(video, clip.target_ids_n.tolist(), frame_size)
                if source.text_info is not None:
                    # From a record of which perhaps no frame was needed; it stays with the video.
                    _ = video.text_LE
            except DamagedVideo as error:
                damage.add(index, error)
                continue
            yield video, frames_THWC
            break
