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
from glober_jax.evaluation import i3d, measuring, parts, results
from glober_jax.evaluation.evaluating import (
    Evaluation,
    Places,
    RealVideos,
    choose,
    evaluate,
    memorisation,
    overlap,
    real_clips,
)
from glober_jax.evaluation.measuring import ClipSet
from glober_jax.evaluation.metrics import frame_quality
from glober_jax.evaluation.metrics.intervals import LEAST
from glober_jax.evaluation.protocols import Protocol, fitted, shortfall
from glober_jax.evaluation.results import Result
from glober_jax.evaluation.video_io import prepared_videos
from glober_jax.evaluation.video_set import PreparedVideos, pixels
from glober_jax.experiment import Experiment
from glober_jax.models.condition import ConditionTokens
from glober_jax.reporting.report.clips import Clips
from glober_jax.reporting.trained_clips import (
    TrainedModel,
    first_reconstructions,
    generated_clips,
    protocol_index,
    reconstructed_clips,
)

# Training clips that generated ones are looked for among.
_MOST_TRAINING_CLIPS = 2048


class ModelEvaluation:
    """Evaluates models of one experiment by one protocol; real clips are measured once for all."""

    def __init__(
        self,
        experiment: Experiment,
        protocol: Protocol,
        data_dir: str,
        mesh: Mesh,
        folder: epath.PathLike | None,
    ) -> None:
        """Opens the data set and loads the networks that judge.

        Args:
          experiment: the models'.
          protocol: how to evaluate.
          data_dir: where the prepared data set is.
          mesh: the devices to measure on.
          folder: where measures are kept, see `measuring.measure`.

        Raises:
          UserError: the data set is not there, damaged, or of another frame size; the protocol's
            clips are longer than the model's or the videos; a package is missing.
        """
        self._experiment, self._data_dir, self._folder = experiment, data_dir, folder
        self._index_n = protocol_index(protocol, experiment.clip)
        self._opened: dict[str, PreparedVideos] = {}
        self._real = self._videos(protocol.split)
        check_size(self._real, experiment)
        self.protocol = fitted(protocol, self._real.lengths)
        choose(self.protocol, self._real)
        self._looks = measuring.looks(mesh)
        self._logits = measuring.logits(mesh, protocol.resize)
        self._instrument = measuring.together(self._logits, self._looks, measuring.motions())

    def result(
        self,
        model: TrainedModel,
        seed: int,
        *,
        reconstruction: Mapping[str, Any] | None,
        command: str,
    ) -> Result:
        """The whole record of new clips; `reconstruction` is a section of it, see there."""
        start = time.monotonic()
        found = self._evaluate(model, seed)
        note = shortfall(self.protocol, len(found.real["logits"]))
        notes = [note] if note else []
        coverage = overlap(found)
        try:
            coverage |= self._memorisation(found)
        except UserError as error:
            # The test split may be short, or the training split again: the scores stand.
            notes.append(f"distance to training clips not measured: {error}")
        return results.build(
            self.protocol,
            scores=found.scores,
            floor=found.floor,
            motion=found.motion,
            reconstruction=reconstruction,
            coverage=coverage,
            model=model_record(model, seed),
            data={
                "real": {"source": self._real.source, "fingerprint": self._real.fingerprint},
            },
            notes=notes,
            command=command,
            seconds=time.monotonic() - start,
        )

    def test_clips(self, most: int | None = None) -> ClipSet:
        """Clips of the model's own shape from the test split: the protocol's number, or `most`."""
        clip, videos = self._experiment.clip, self._videos("test")
        protocol = dataclasses.replace(
            self.protocol,
            num_frames=clip.num_frames,
            stride=clip.stride,
            split="test",
            num_clips=min(self.protocol.num_clips, most or self.protocol.num_clips),
        )
        if not videos.long_enough(protocol.min_length):
            raise UserError(
                f"the videos of {videos.source} have at most {max(videos.lengths)} frames, and a "
                f"clip of this model takes {protocol.min_length}: evaluate without "
                "--reconstruction, or on data with longer videos (--data)"
            )
        return real_clips(protocol, videos, choose(protocol, videos))

    def reconstruction(
        self,
        model: TrainedModel,
        seed: int,
        real: ClipSet,
        scored: Collection[str] = parts.KINDS,
    ) -> dict[str, Any]:
        """What each part of the model makes of `real` test clips, see `parts`.

        FVD and KVD are those of the kinds in `scored`, where the clips are long and many enough.
        """
        clip, size = self._experiment.clip, self._experiment.networks.frame_size
        if clip.num_frames < i3d.MIN_FRAMES or real.num_clips < LEAST:
            scored = ()
        moving = measuring.motions()
        quality = frame_quality.frame_measures(size, frame_quality.metrics_of(size))
        made = {}
        for kind, pairs in reconstructed_clips(model, real, clip, seed).items():
            of_made = measuring.together(self._logits, moving) if kind in scored else moving
            instrument = measuring.pairs(quality, of_made)
            made[kind] = measuring.measure(pairs, instrument, self._folder)
        # Often the clips that generated ones are compared with, and then measured only once.
        instrument = self._instrument if scored else moving
        found = measuring.measure(real, instrument, self._folder)
        return parts.record(found, made, clip.key_positions, self.protocol.ddof)

    def samples(self, model: TrainedModel, seed: int, count: int) -> dict[str, Clips]:
        """The first clips that are measured, to look at."""
        places = choose(self.protocol, self._real)
        count = min(count, len(places))
        return {
            "Generated": Clips(self._generated(model, seed, 0, places).read(0, count)),
            "Real": Clips(real_clips(self.protocol, self._real, places).read(0, count)),
        }

    def reconstructions(self, model: TrainedModel, seed: int, count: int) -> dict[str, np.ndarray]:
        """The first test clips and what is made of them."""
        return first_reconstructions(model, self.test_clips(), self._experiment.clip, seed, count)

    def _evaluate(self, model: TrainedModel, seed: int) -> Evaluation:
        other_split = "train" if self.protocol.split == "test" else "test"
        others = functools.partial(self._videos, other_split)
        # Of all splits together there is no other.
        return evaluate(
            self.protocol,
            RealVideos(self._real, None if "+" in self.protocol.split else others),
            functools.partial(self._generated, model, seed),
            self._instrument,
            self._folder,
        )

    def _generated(self, model: TrainedModel, seed: int, repeat: int, places: Places) -> ClipSet:
        """New clips, under the conditions of the real ones in turn."""
        count = self.protocol.num_clips
        videos = np.resize([video for video, _ in places], count).tolist()
        conditions, identity = _conditions(self._experiment.networks.condition, self._real, videos)
        return generated_clips(
            model,
            self._index_n,
            seed,
            first_video=repeat * count,
            num_clips=count,
            conditions=conditions,
            condition_identity=identity,
        )

    def _memorisation(self, found: Evaluation) -> dict[str, Any]:
        """Distances of generated and of test clips to centre clips of the training videos."""
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
            measured[split] = measuring.measure(clips, self._looks, self._folder)
            names[split] = [videos.names[video] for video, _ in places]
        return memorisation(found.generated, measured["test"], measured["train"], names["train"])

    def _videos(self, split: str) -> PreparedVideos:
        """Those of a split, opened once."""
        if split not in self._opened:
            self._opened[split] = prepared_videos(self._data_dir, split)
        return self._opened[split]


def model_record(model: TrainedModel, seed: int) -> dict[str, Any]:
    """What a result says of the model."""
    return {
        "workdir": str(model.workdir),
        "checkpoint_steps": model.glober.trained_steps,
        "sampling": dataclasses.asdict(model.glober.options),
        "seed": seed,
    }


def check_size(videos: PreparedVideos, experiment: Experiment) -> None:
    """Raises `UserError` where these are not of the size that the experiment's models make."""
    size = experiment.networks.frame_size
    if videos.size != (size, size):
        raise UserError(
            f"the videos of {videos.source} are {pixels(videos.size)} and the model makes "
            f"{pixels((size, size))}: evaluate on data prepared with --size={size}"
        )


def _conditions(
    network: ConditionTokens, videos: PreparedVideos, numbers: Sequence[int]
) -> tuple[Callable[[int, int], np.ndarray], Any]:
    """(first, count) to what `ConditionTokens` takes for clips like these videos; and its identity.

    Raises:
      UserError: the videos have no class or no text, which the model needs.
    """
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
