"""The evaluation of videos that somebody made, by whatever model, against real ones."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from etils import epath

from glober_jax.data.building.output_folder import dataset_folders
from glober_jax.evaluation.clip_sets import ClipSet
from glober_jax.evaluation.evaluating import (
    Evaluation,
    Places,
    RealVideos,
    evaluate,
    overlap,
    real_clips,
)
from glober_jax.evaluation.measuring import Instrument
from glober_jax.evaluation.protocols import Protocol, fitted
from glober_jax.evaluation.video_sets.opening import open_video_set
from glober_jax.evaluation.video_sets.prepared import prepared_videos
from glober_jax.evaluation.video_sets.video_set import VideoSet


def open_videos_at(path: str, protocol: Protocol) -> VideoSet:
    """A prepared data set's videos of the protocol's split, or whatever else is at `path`."""
    if "://" in path or dataset_folders(epath.Path(path)):
        return prepared_videos(path, protocol.split)
    return open_video_set(path)


def for_two_sets(protocol: Protocol, real: VideoSet, generated: VideoSet) -> Protocol:
    """The protocol that two sets of these sizes allow.

    `small` takes as many clips as the smaller set has; one that repeats does so as often as there
    are generated videos for.
    """
    usable = generated.long_enough(protocol.min_length)
    fewer = min(real.long_enough(protocol.min_length), usable, key=len)
    protocol = fitted(protocol, [protocol.min_length] * len(fewer))
    repeats = max(1, min(protocol.repeats, len(usable) // protocol.num_clips))
    return dataclasses.replace(protocol, repeats=repeats)


def numbers_note(protocol: Protocol, evaluation: Evaluation) -> tuple[str, ...]:
    """What to tell people where a set has fewer clips than the protocol's; else nothing."""
    real, generated = (len(found["logits"]) for found in (evaluation.real, evaluation.generated))
    if min(real, generated) >= protocol.num_clips:
        return ()
    return (
        f"{real:,} real and {generated:,} generated clips where protocol {protocol.name} takes up "
        f"to {protocol.num_clips:,}: scores compare only with those of the same numbers.",
    )


def evaluate_two_sets(
    protocol: Protocol,
    real: VideoSet,
    generated: VideoSet,
    instrument: Instrument,
    folder: epath.PathLike | None,
) -> tuple[Evaluation, dict[str, Any]]:
    """Scores and motion, and how the sets overlap (`coverage`).

    Of generated videos the first frames are taken, of the first videos in order that are long
    enough; each repeat goes on with the next ones.
    """
    usable = generated.long_enough(protocol.min_length)

    def clips(repeat: int, places: Places) -> ClipSet:
        del places
        first = repeat * protocol.num_clips
        chosen: Sequence[int] = usable[first : first + protocol.num_clips]
        return real_clips(protocol, generated, [(video, 0) for video in chosen], "generated")

    found = evaluate(protocol, RealVideos(real), clips, instrument, folder)
    return found, overlap(found)
