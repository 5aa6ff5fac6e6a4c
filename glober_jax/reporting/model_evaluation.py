"""The evaluation of a trained model against a prepared data set.

Dimension key: B clips, n frames of a clip, L tokens of a text, E their width.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from jax.sharding import Mesh

from glober_jax.errors import UserError
from glober_jax.evaluation import measuring, results, scoring
from glober_jax.evaluation.clip_sets import ClipSet
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
from glober_jax.evaluation.protocols import Protocol, fitted, shortfall
from glober_jax.evaluation.results import Result
from glober_jax.evaluation.video_sets.prepared import PreparedVideos, prepared_videos
from glober_jax.evaluation.video_sets.video_set import pixels
from glober_jax.experiment import Experiment
from glober_jax.models.condition import ConditionTokens
from glober_jax.reporting.report.clips import Clips
from glober_jax.reporting.trained_clips import (
    TrainedModel,
    generated_clips,
    protocol_index,
    reconstruction_pairs,
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
        self._check_size()
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
            model={
                "workdir": str(model.workdir),
                "checkpoint_steps": model.glober.trained_steps,
                "sampling": dataclasses.asdict(model.glober.options),
                "seed": seed,
            },
            data={
                "real": {"source": self._real.source, "fingerprint": self._real.fingerprint},
            },
            notes=notes,
            command=command,
            seconds=time.monotonic() - start,
        )

    def reconstruction(self, model: TrainedModel, seed: int) -> dict[str, Any]:
        """Quality of test clips of the model's own shape, encoded and decoded again, and rFVD."""
        pairs = self._pairs(model, seed)
        size = self._experiment.networks.frame_size
        measured = measuring.measure(pairs, measuring.pairs(size, self._logits), self._folder)
        ddof = self.protocol.ddof
        rfvd = scoring.frechet_record(measured["other_logits"], measured["logits"], ddof)
        return scoring.quality(measured) | {"rfvd": rfvd, "num_clips": pairs.num_clips}

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
        pairs = self._pairs(model, seed)
        frames = pairs.read(0, min(count, pairs.num_clips))
        return {"Real": frames[:, 1], "GLOBER": frames[:, 0]}

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

    def _pairs(self, model: TrainedModel, seed: int) -> ClipSet:
        """Reconstructions of test clips of the model's own shape, beside these."""
        clip, videos = self._experiment.clip, self._videos("test")
        protocol = dataclasses.replace(
            self.protocol, num_frames=clip.num_frames, stride=clip.stride, split="test"
        )
        real = real_clips(protocol, videos, choose(protocol, videos))
        return reconstruction_pairs(model, real, clip, seed)

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

    def _check_size(self) -> None:
        size = self._experiment.networks.frame_size
        if self._real.size != (size, size):
            raise UserError(
                f"the videos of {self._data_dir} are {pixels(self._real.size)} and the model makes "
                f"{pixels((size, size))}: evaluate on data prepared with --size={size}"
            )

    def _videos(self, split: str) -> PreparedVideos:
        """Those of a split, opened once."""
        if split not in self._opened:
            self._opened[split] = prepared_videos(self._data_dir, split)
        return self._opened[split]


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
