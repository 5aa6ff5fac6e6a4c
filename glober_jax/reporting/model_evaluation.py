"""The evaluation of a trained model against a prepared data set.

Dimension key: B clips, n frames of a clip, L tokens of a text, E their width.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from jax.sharding import Mesh

from glober_jax.errors import UserError
from glober_jax.evaluation import i3d, measuring, results, scoring
from glober_jax.evaluation.evaluating import (
    Evaluation,
    Places,
    choose,
    evaluate,
    memorisation,
    real_clips,
)
from glober_jax.evaluation.measuring import ClipSet
from glober_jax.evaluation.metrics.frame_quality import frame_measures, metrics_of
from glober_jax.evaluation.metrics.intervals import LEAST
from glober_jax.evaluation.protocols import Protocol, fitted, shortfall
from glober_jax.evaluation.results import Result
from glober_jax.evaluation.video_io import prepared_videos
from glober_jax.evaluation.video_set import VideoSet, pixels
from glober_jax.experiment.options import Experiment
from glober_jax.models.condition import ConditionTokens
from glober_jax.reporting.trained_clips import TrainedModel, protocol_index, reconstructed_clips

# For the distance of generated clips to training clips.
_MOST_TRAINING_CLIPS = 2048


class ModelEvaluation:
    """Evaluates models of one experiment by one protocol; real clips are measured once."""

    def __init__(
        self,
        experiment: Experiment,
        protocol: Protocol,
        data_dir: str,
        mesh: Mesh,
        folder: epath.PathLike | None,
    ) -> None:
        """Opens the prepared data set in `data_dir` and loads the feature extractors.

        `folder` is that of `measuring.measure`. Raises `UserError` where the data set is missing,
        damaged, or of another frame size, where the protocol's clips are longer than the model's or
        the videos, and without the packages of evaluation.
        """
        self._experiment, self._folder = experiment, folder
        self._index_n = protocol_index(protocol, experiment.clip)
        # By split, each opened once.
        self._videos = functools.cache(functools.partial(prepared_videos, data_dir))
        self._real = self._videos(protocol.split)
        check_size(self._real, experiment)
        self.protocol = fitted(protocol, len(self._real.long_enough(protocol.min_length)))
        choose(self.protocol, self._real)
        self._frame_features = measuring.frame_features(mesh)
        self._logits = measuring.i3d_logits(mesh, protocol.resize)
        self._motions = measuring.motion_measures()
        self._extractor = measuring.combined(self._logits, self._frame_features, self._motions)

    def result(
        self,
        model: TrainedModel,
        seed: int,
        *,
        reconstruction: Mapping[str, Any] | None,
        command: str,
        with_controls: bool = False,
    ) -> Result:
        """The record of new clips, with `reconstruction` as a section."""
        start, protocol = time.monotonic(), self.protocol
        other_split = "train" if protocol.split == "test" else "test"
        # All splits together leave no other one.
        others = None if "+" in protocol.split else lambda: self._videos(other_split)
        generated = functools.partial(self._generated, model, seed)
        found = evaluate(
            protocol,
            self._real,
            generated,
            self._extractor,
            self._folder,
            others,
            with_controls=with_controls,
        )
        notes = shortfall(protocol, len(found.real["logits"]))
        try:
            found.sections["coverage"] |= self._memorisation(found)
        except UserError as error:
            # The test split may be short, or equal to the training split; scores remain valid.
            notes.append(f"distance to training clips not measured: {error}")
        return results.build(
            protocol,
            **found.sections,
            reconstruction=reconstruction,
            model=model_record(model, seed),
            data={"real": {"source": self._real.source, "fingerprint": self._real.fingerprint}},
            notes=notes,
            command=command,
            seconds=time.monotonic() - start,
        )

    def test_clips(self, most: int | None = None) -> ClipSet:
        """Test clips of the model's own shape: the protocol's number, at most `most`."""
        clip, videos = self._experiment.clip, self._videos("test")
        protocol = dataclasses.replace(
            self.protocol,
            num_frames=clip.num_frames,
            stride=clip.stride,
            split="test",
            num_clips=min(self.protocol.num_clips, most or self.protocol.num_clips),
        )
        advice = "evaluate without --reconstruction, or on data with longer videos (--data)"
        check_length(videos, protocol, "", advice)
        return real_clips(protocol, videos, choose(protocol, videos))

    def reconstruction(
        self,
        model: TrainedModel,
        seed: int,
        real: ClipSet,
        scored: Collection[str] = scoring.PARTS,
    ) -> dict[str, Any]:
        """`scoring.part_scores` of `real` test clips, with FVD and KVD of the parts in `scored`.

        Too short or too few clips have no FVD and KVD.
        """
        clip = self._experiment.clip
        if clip.num_frames < i3d.MIN_FRAMES or real.num_clips < LEAST:
            scored = ()
        quality = frame_measures(metrics_of(self._experiment.networks.frame_size))
        with_logits = measuring.combined(self._logits, self._motions)
        made = {}
        for kind, pairs in reconstructed_clips(model, real, clip, seed).items():
            of_made = with_logits if kind in scored else self._motions
            made[kind] = measuring.measure(
                pairs, measuring.paired_quality(quality, of_made), self._folder
            )
        # Often the same clips as in `result`, whose measures are then shared.
        extractor = self._extractor if scored else self._motions
        found = measuring.measure(real, extractor, self._folder)
        return scoring.part_scores(found, made, clip.key_positions, self.protocol.ddof)

    def samples(self, model: TrainedModel, seed: int, count: int) -> dict[str, np.ndarray]:
        """The first of the measured clips, by title."""
        places = choose(self.protocol, self._real)
        made = self._generated(model, seed, 0, places)
        real = real_clips(self.protocol, self._real, places)
        return {"Generated": made.read(0, min(count, len(places))), "Real": real.read(0, count)}

    def _generated(self, model: TrainedModel, seed: int, repeat: int, places: Places) -> ClipSet:
        """New clips with the conditions of the real ones."""
        count, index_n = self.protocol.num_clips, self._index_n
        videos = np.resize([video for video, _ in places], count).tolist()
        network = self._experiment.networks.condition
        conditions, of_conditions = _conditions(network, self._real, videos)

        def read(first: int, number: int) -> np.ndarray:
            noise = {"seed": seed, "first_video": repeat * count + first}
            features = model.glober.generate_globals(number, conditions(first, number), **noise)
            return model.glober.decode(features, index_n, **noise)

        identity = {
            "model": model.identity,
            "index": index_n.tolist(),
            "seed": seed,
            "first_video": repeat * count,
            "conditions": of_conditions,
        }
        return ClipSet("generated", identity, count, read)

    def _memorisation(self, found: Evaluation) -> dict[str, Any]:
        """Distances of generated and of test clips to centre clips of training videos."""
        protocol = dataclasses.replace(
            self.protocol,
            num_clips=_MOST_TRAINING_CLIPS,
            videos="random",
            start="centre",
            repeat_videos=False,
        )
        measured, names = {}, {}
        for split in ("train", "test"):
            videos = self._videos(split)
            places = choose(protocol, videos)
            clips = real_clips(protocol, videos, places, split)
            measured[split] = measuring.measure(clips, self._frame_features, self._folder)
            names[split] = [videos.names[video] for video, _ in places]
        return memorisation(found.generated, measured["test"], measured["train"], names["train"])


def model_record(model: TrainedModel, seed: int) -> dict[str, Any]:
    """The `model` section of a result."""
    return {
        "workdir": str(model.workdir),
        "checkpoint_steps": model.glober.trained_steps,
        "sampling": dataclasses.asdict(model.glober.options),
        "seed": seed,
    }


def check_size(videos: VideoSet, experiment: Experiment) -> None:
    """Raises `UserError` for videos of another frame size than the model's."""
    size = experiment.networks.frame_size
    if videos.size != (size, size):
        raise UserError(
            f"the videos of {videos.source} are {pixels(videos.size)} and the model makes "
            f"{pixels((size, size))}: evaluate on data prepared with --size={size}"
        )


def check_length(videos: VideoSet, protocol: Protocol, kind: str, advice: str) -> None:
    """Raises `UserError` where no video is long enough for the protocol's clips."""
    if not videos.long_enough(protocol.min_length):
        raise UserError(
            f"the videos of {videos.source} have at most {max(videos.lengths)} frames, and a clip "
            f"of this model {kind}takes {protocol.min_length}: {advice}"
        )


def _conditions(
    network: ConditionTokens, videos: VideoSet, numbers: Sequence[int]
) -> tuple[Callable[[int, int], np.ndarray], Any]:
    """(first, count) to the inputs of `ConditionTokens` for these videos; and their identity."""
    if network.kind == "class":
        if videos.labels is None or len(videos.class_names) != network.num_classes:
            raise UserError(
                f"the model knows {network.num_classes} classes and {videos.source} has "
                f"{len(videos.class_names)}: evaluate on the data it was trained on"
            )
        labels = [videos.labels[number] for number in numbers]
        return lambda first, count: np.array(labels[first : first + count], np.int32), labels
    if network.kind == "text":
        if videos.read_text(numbers[0]) is None:
            raise UserError(
                f"the model needs texts and {videos.source} has none: evaluate on data prepared "
                "with --clip"
            )

        def texts(first: int, count: int) -> np.ndarray:
            return np.stack([videos.read_text(n) for n in numbers[first : first + count]])

        return texts, [videos.fingerprint, list(numbers)]
    return lambda first, count: np.zeros(count, np.int32), None
