"""One evaluation: real and generated clips of a protocol, chosen, measured and scored.

Scores stand beside the real baseline, the same scores of other real clips (`floor` in results), and
optionally beside controls: those other clips broken in one way, which show how large a score is.
Dimension key: V videos, N clips, T frames, H, W frame size, C colours, D features.
"""

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from scipy.ndimage import gaussian_filter

from glober_jax.errors import UserError
from glober_jax.evaluation import scoring
from glober_jax.evaluation.measuring import ClipSet, FeatureExtractor, Measures, measure
from glober_jax.evaluation.metrics import prdc
from glober_jax.evaluation.metrics.intervals import LEAST
from glober_jax.evaluation.protocols import Protocol, fitted, to_fit
from glober_jax.evaluation.video_set import VideoSet

# (video, first frame) of each clip.
Places = Sequence[tuple[int, int]]

# Standard deviation of the control's blur, of a frame's width: 2 pixels of 64.
_BLUR = 1 / 32


class Evaluation(NamedTuple):
    """Sections of a result, and the measures of the first repeat."""

    sections: dict[str, Any]
    real: Measures
    generated: Measures


def choose_clips(
    protocol: Protocol, lengths: Sequence[int], labels: Sequence[int], repeat: int = 0
) -> Places:
    """The real clips of a repeat, sorted; a video's clip does not depend on `num_clips`.

    There are fewer than `num_clips` where there are fewer usable videos and `repeat_videos` is off.
    `lengths` and `labels` (for "class_balanced") are of each video, sorted by name. Raises
    `UserError` where no video is long enough.
    """
    lengths_V = np.asarray(lengths, np.int64)
    usable = np.flatnonzero(lengths_V >= protocol.min_length)
    if not usable.size:
        longest = int(lengths_V.max(initial=0))
        there = f"the longest of {len(lengths_V)} has {longest}" if longest else "there are none"
        raise UserError(
            f"protocol {protocol.name} needs videos of at least {protocol.min_length} frames, but "
            f"{there}; {to_fit(protocol, longest, 'prepare the data with longer videos')}"
        )
    rng = np.random.default_rng((protocol.seed, repeat))
    room_V = np.maximum(lengths_V - protocol.span, 0)
    clips: list[tuple[int, int]] = []
    while len(clips) < protocol.num_clips:
        # Drawn for all videos, so that a clip does not depend on which others are taken.
        starts_V = rng.integers(room_V + 1) if protocol.start == "random" else room_V // 2
        order = usable if protocol.videos == "first" else rng.permutation(usable)
        if protocol.videos == "class_balanced":
            order = _in_turns(order, np.asarray(labels)[order])
        chosen = order[: protocol.num_clips - len(clips)]
        clips += zip(chosen.tolist(), starts_V[chosen].tolist(), strict=True)
        if not protocol.repeat_videos:
            break
    return sorted(clips)


def _in_turns(videos: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The videos in an order that takes a video of each class in turn."""
    # A stable sort by the rank of each video within its class.
    turns = np.zeros(len(videos), np.int64)
    for label in np.unique(labels):
        turns[labels == label] = np.arange((labels == label).sum())
    return videos[np.argsort(turns, kind="stable")]


def choose(
    protocol: Protocol, videos: VideoSet, repeat: int = 0, without: Collection[int] = ()
) -> Places:
    """`choose_clips` from the videos that are not in `without`."""
    lengths = [0 if i in without else length for i, length in enumerate(videos.lengths)]
    return choose_clips(protocol, lengths, videos.labels or (0,) * len(videos), repeat)


def real_clips(protocol: Protocol, videos: VideoSet, places: Places, kind: str = "real") -> ClipSet:
    """The protocol's clips at `places` of stored videos."""
    length, stride = protocol.min_length, protocol.stride

    def read(first: int, count: int) -> np.ndarray:
        chosen = places[first : first + count]
        return np.stack([videos.read(i, range(at, at + length, stride)) for i, at in chosen])

    identity = {
        "videos": videos.fingerprint,
        "places": [[int(video), int(start)] for video, start in places],
        "num_frames": protocol.num_frames,
        "stride": stride,
    }
    return ClipSet(kind, identity, len(places), read)


def frozen(clips_NTHWC: np.ndarray) -> np.ndarray:
    """Each uint8 clip's middle frame, repeated: no motion."""
    length = clips_NTHWC.shape[1]
    return np.repeat(clips_NTHWC[:, length // 2, None], length, axis=1)


def shuffled(clips_NTHWC: np.ndarray) -> np.ndarray:
    """The frames of each uint8 clip in one random order, the same for all: no continuity."""
    return clips_NTHWC[:, np.random.default_rng(0).permutation(clips_NTHWC.shape[1])]


def blurred(clips_NTHWC: np.ndarray) -> np.ndarray:
    """Every uint8 frame under a Gaussian blur of 1/32 of its width: no detail."""
    sigma = _BLUR * clips_NTHWC.shape[3]
    smooth = gaussian_filter(clips_NTHWC.astype(np.float32), (0, 0, sigma, sigma, 0))
    return np.round(smooth).astype(np.uint8)


CONTROLS = {"frozen": frozen, "shuffled": shuffled, "blurred": blurred}


def evaluate(
    protocol: Protocol,
    videos: VideoSet,
    generated: Callable[[int, Places], ClipSet],
    extractor: FeatureExtractor,
    folder: epath.PathLike | None,
    other_videos: Callable[[], VideoSet] | None = None,
    *,
    with_controls: bool = False,
) -> Evaluation:
    """Scores generated clips against real ones from `videos`, which are of the protocol's split.

    Args:
      generated: (repeat, its real clips' places) to the clips compared with them.
      folder: of stored measures, see `measuring.measure`.
      other_videos: opens another split of real videos for the baseline, if there is one.
      with_controls: also scores the baseline's clips broken in each way of `CONTROLS`.

    Raises `UserError` where there are too few clips for intervals, or no others for controls.
    """
    pairs = []
    for repeat in range(protocol.repeats):
        places = choose(protocol, videos, repeat)
        pairs.append((real_clips(protocol, videos, places), generated(repeat, places)))
    others = _other_real_clips(protocol, videos, other_videos, pairs[0][0].num_clips)
    _check_counts(*pairs[0], others)
    if with_controls and others is None:
        raise UserError(
            f"there are no {pairs[0][0].num_clips} other real clips to break: evaluate without "
            "--controls, or give more real videos"
        )
    repeats = [tuple(measure(clips, extractor, folder) for clips in pair) for pair in pairs]
    real, made = repeats[0]
    if others:
        baseline = real, measure(others, extractor, folder)
    else:
        baseline = _halves(real, protocol.seed)
    moving = scoring.motion_scores(real, made)
    for name, score in scoring.motion_scores(*baseline).items():
        moving[name]["floor"] = score["distance"]
    features = _clip_features(real), _clip_features(made)
    sections = {
        "scores": scoring.scores(repeats, protocol.ddof),
        "floor": scoring.scores([baseline], protocol.ddof),
        "motion": moving,
        "coverage": prdc.prdc(*features) if min(map(len, features)) > prdc.NEIGHBOURS else {},
    }
    if with_controls:
        sections["controls"] = {}
        for name in CONTROLS:
            broken = measure(_control(name, others), extractor, folder)
            sections["controls"][name] = {
                "scores": scoring.scores([(real, broken)], protocol.ddof),
                "motion": scoring.motion_scores(real, broken),
            }
    return Evaluation(sections, real, made)


def evaluate_videos(
    protocol: Protocol,
    real: VideoSet,
    generated: VideoSet,
    extractor: FeatureExtractor,
    folder: epath.PathLike | None,
    *,
    with_controls: bool = False,
) -> Evaluation:
    """`evaluate` of the first frames of generated videos; repeats take successive videos."""
    usable = generated.long_enough(protocol.min_length)

    def clips(repeat: int, places: Places) -> ClipSet:
        chosen = usable[repeat * protocol.num_clips :][: protocol.num_clips]
        return real_clips(protocol, generated, [(video, 0) for video in chosen], "generated")

    return evaluate(protocol, real, clips, extractor, folder, with_controls=with_controls)


def fitted_to_pair(protocol: Protocol, real: VideoSet, generated: VideoSet) -> Protocol:
    """The protocol with as many repeats, and in `small` clips, as there are videos for."""
    num_real, num_generated = (len(x.long_enough(protocol.min_length)) for x in (real, generated))
    protocol = fitted(protocol, min(num_real, num_generated))
    repeats = max(1, min(protocol.repeats, num_generated // protocol.num_clips))
    return dataclasses.replace(protocol, repeats=repeats)


def memorisation(
    generated: Measures, held_out: Measures, training: Measures, training_names: Sequence[str]
) -> dict[str, Any]:
    """`prdc.memorisation` by AlexNet's features."""
    return prdc.memorisation(*map(_clip_features, (generated, held_out, training)), training_names)


def _clip_features(measures: Measures) -> np.ndarray:
    """AlexNet's features of clips, means over the chosen frames: [N, D]."""
    return measures["frames"].mean(axis=1)


def _other_real_clips(
    protocol: Protocol, videos: VideoSet, more: Callable[[], VideoSet] | None, count: int
) -> ClipSet | None:
    """`count` clips of other real videos: of the same split, else of `more`; else None."""
    another = dataclasses.replace(protocol, num_clips=count, videos="random", repeat_videos=False)
    usable = set(videos.long_enough(protocol.min_length))
    taken = {video for video, _ in choose(protocol, videos)}
    if len(usable - taken) < count:
        if more is None:
            return None
        videos, taken = more(), set()
        if len(videos.long_enough(protocol.min_length)) < count:
            return None
    return real_clips(protocol, videos, choose(another, videos, without=taken), "other_real")


def _control(name: str, clips: ClipSet) -> ClipSet:
    """The same clips broken in one of the ways of `CONTROLS`."""

    def read(first: int, count: int) -> np.ndarray:
        return CONTROLS[name](clips.read(first, count))

    return ClipSet(name, {"control": name, "of": clips.identity}, clips.num_clips, read)


def _check_counts(real: ClipSet, generated: ClipSet, others: ClipSet | None) -> None:
    """Checks before anything is measured that every score can have an interval."""
    for clips, least in ((generated, LEAST), (real, LEAST if others else 2 * LEAST)):
        if clips.num_clips < least:
            halves = ", because two halves of them are the baseline" if least > LEAST else ""
            raise UserError(
                f"{clips.kind} clips are too few: there are {clips.num_clips}, and at least "
                f"{least} are needed{halves}; give more videos"
            )


def _halves(measured: Measures, seed: int) -> tuple[Measures, Measures]:
    """Two random halves of equal size: the baseline where there are no other real videos."""
    half = len(measured["logits"]) // 2
    order = np.random.default_rng(seed).permutation(len(measured["logits"]))
    first, second = (
        {name: values[chosen] for name, values in measured.items()}
        for chosen in (order[:half], order[half : 2 * half])
    )
    return first, second
