"""One evaluation: real and generated clips by a protocol, measured and scored, beside the floor.

Dimension key: N clips, D features.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from etils import epath

from glober_jax.errors import UserError
from glober_jax.evaluation import coverage, measuring, scoring
from glober_jax.evaluation.clip_sets import ClipSet, clips_of_videos
from glober_jax.evaluation.distances.intervals import LEAST
from glober_jax.evaluation.measuring import Instrument, Measures
from glober_jax.evaluation.protocols import Protocol, choose_clips
from glober_jax.evaluation.video_sets.video_set import VideoSet

Places = Sequence[tuple[int, int]]


@dataclasses.dataclass(frozen=True)
class RealVideos:
    """What generated clips are compared with.

    Attributes:
      videos: those of the protocol's split.
      others: opens real videos of another split, for the floor; None where there are none.
    """

    videos: VideoSet
    others: Callable[[], VideoSet] | None = None


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found: sections of a result, and the measures of the first repeat."""

    scores: dict[str, Any]
    floor: dict[str, Any]
    motion: dict[str, Any]
    real: Measures
    generated: Measures


def choose(protocol: Protocol, videos: VideoSet, repeat: int = 0) -> Places:
    """The clips of a repeat, as (video, first frame); `UserError` where no video is long enough."""
    return choose_clips(protocol, videos.lengths, _labels(videos), repeat)


def real_clips(protocol: Protocol, videos: VideoSet, places: Places, kind: str = "real") -> ClipSet:
    """The protocol's clips at these places."""
    return clips_of_videos(
        kind, videos, places, num_frames=protocol.num_frames, stride=protocol.stride
    )


def evaluate(
    protocol: Protocol,
    real: RealVideos,
    generated: Callable[[int, Places], ClipSet],
    instrument: Instrument,
    folder: epath.PathLike | None,
) -> Evaluation:
    """Scores generated clips against real ones.

    Args:
      protocol: says which real clips, and how often.
      real: where they come from.
      generated: (repeat, its real clips' places) to the clips they are compared with.
      instrument: measures both.
      folder: where measures are kept, see `measuring.measure`.

    Raises:
      UserError: no video is long enough, or there are too few clips to score.
    """
    pairs = []
    for repeat in range(protocol.repeats):
        places = choose(protocol, real.videos, repeat)
        pairs.append((real_clips(protocol, real.videos, places), generated(repeat, places)))
    others = _other_real_clips(protocol, real, pairs[0][0].num_clips)
    _check_numbers(*pairs[0], others)
    repeats = [
        tuple(measuring.measure(clips, instrument, folder) for clips in pair) for pair in pairs
    ]
    first_real, first_generated = repeats[0]
    if others is None:
        floor = _halves(first_real, protocol.seed)
    else:
        floor = first_real, measuring.measure(others, instrument, folder)
    moving = scoring.motion_scores(first_real, first_generated)
    for name, score in scoring.motion_scores(*floor).items():
        moving[name]["floor"] = score["distance"]
    return Evaluation(
        scores=scoring.scores(repeats, protocol.ddof),
        floor=scoring.scores([floor], protocol.ddof),
        motion=moving,
        real=first_real,
        generated=first_generated,
    )


def overlap(evaluation: Evaluation) -> dict[str, Any]:
    """Precision, recall, density and coverage, by AlexNet's features; {} for a handful of clips."""
    clips = [_look(measures) for measures in (evaluation.real, evaluation.generated)]
    if min(map(len, clips)) <= coverage.NEIGHBOURS:
        return {}
    return dataclasses.asdict(coverage.coverage(*clips))


def memorisation(
    generated: Measures, held_out: Measures, training: Measures, training_names: Sequence[str]
) -> dict[str, Any]:
    """How near generated clips come to training clips, by AlexNet's features; see `coverage`."""
    found = coverage.memorisation(
        *(_look(measures) for measures in (generated, held_out, training)),
        generated_ids=[f"generated {number}" for number in range(len(generated["looks"]))],
        training_ids=training_names,
    )
    return {
        "memorisation_ratio": found.ratio,
        "memorised": found.nearer,
        "nearest_training_clips": [dataclasses.asdict(pair) for pair in found.nearest],
    }


def _other_real_clips(protocol: Protocol, real: RealVideos, count: int) -> ClipSet | None:
    """As many clips of other real videos, for the floor.

    Those are of the same split where so many are left, else of another; None where there are none.
    """
    another = dataclasses.replace(protocol, num_clips=count, videos="random", repeat_videos=False)
    taken = {video for video, _ in choose(protocol, real.videos)}
    for videos, without in ((real.videos, taken), (real.others and real.others(), set())):
        if videos is None:
            continue
        lengths = [0 if i in without else length for i, length in enumerate(videos.lengths)]
        if sum(length >= protocol.min_length for length in lengths) < count:
            continue
        places = choose_clips(another, lengths, _labels(videos))
        return real_clips(protocol, videos, places, "other_real")
    return None


def _check_numbers(real: ClipSet, generated: ClipSet, others: ClipSet | None) -> None:
    """Before anything is measured: enough clips for an interval of every score, the floor's too."""
    for clips, least in ((generated, LEAST), (real, LEAST if others else 2 * LEAST)):
        if clips.num_clips < least:
            halves = (
                ", as their halves are scored against each other for want of other real videos"
                if least > LEAST
                else ""
            )
            raise UserError(
                f"{clips.kind} clips are too few: there are {clips.num_clips}, and at least "
                f"{least} are needed{halves}; give more videos"
            )


def _halves(measured: Measures, seed: int) -> tuple[Measures, Measures]:
    """Two halves of equal size, by chance: the floor where there are no other real videos."""
    count = len(measured["logits"])
    order = np.random.default_rng(seed).permutation(count)
    first, second = (
        {name: values[half] for name, values in measured.items()}
        for half in (order[: count // 2], order[count // 2 : count // 2 * 2])
    )
    return first, second


def _labels(videos: VideoSet) -> Sequence[int]:
    return videos.labels or (0,) * len(videos)


def _look(measures: Measures) -> np.ndarray:
    """A clip's features, the mean over the frames looked at: [N, D]."""
    return measures["looks"].mean(axis=1)
