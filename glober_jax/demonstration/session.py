"""A demo session: requests and uploads to frames, as they are decoded, with few compilations.

Dimension key: N videos, n frames, T frames of a given video, H, W, G global feature, X, Y frame
size, C = 3 colours.
"""

import functools
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from glober_jax import media
from glober_jax.data.frames import fit_square
from glober_jax.data.media.decode import UndecodableError, decode_media
from glober_jax.data.media.tree import MediaItem
from glober_jax.demonstration.requests import (
    MAX_STEPS,
    Part,
    VideoRequest,
    part_of_clip,
    sample_command,
)
from glober_jax.errors import UserError
from glober_jax.experiment import config
from glober_jax.experiment.options import Experiment
from glober_jax.pretrained import load_model
from glober_jax.sampling.from_videos import on_the_way
from glober_jax.sampling.glober import Glober
from glober_jax.training.checkpoint import Which
from glober_jax.training.restore import ExampleTexts, load_config, load_texts

# Frames per program call: few enough to see a video grow.
_CHUNK_FRAMES = 16
# Each choice of sampler, steps and scales is a compiled program; this many stay in memory.
_KEPT_PROGRAMS = 8
# Grey level of frames that are not decoded yet.
NOT_YET = 128


class Stage(NamedTuple):
    """Progress of a request: a sentence, the frames so far (uint8 [n, X, Y, C]), their final
    number, and the finished fraction of the work.
    """

    note: str
    frames: np.ndarray
    total: int
    fraction: float


def open_session(workdir: epath.Path, checkpoint: Which) -> "Session":
    """A session on the model of a workdir.

    Raises `UserError` where a stage is missing, or a model of texts has no example captions.
    """
    experiment = config.parse(load_config(workdir))
    is_text = experiment.networks.condition.kind == "text"
    examples = load_texts(workdir) if is_text else None
    if is_text and examples is None:
        raise UserError(
            f"the model in {workdir} takes texts but came without example captions, and the "
            "demo has no text encoder: use python -m glober_jax.sample --prompt"
        )
    model = load_model(experiment, workdir, checkpoint=checkpoint)
    return Session(experiment, model, examples, workdir, checkpoint)


class Session:
    """A trained model, for one request at a time.

    Attributes:
      experiment, workdir, checkpoint: of the model.
      model: with its config's sampling options.
      fps: frames per second of all videos.
      kind: of the model's condition: "class", "text" or "unconditional".
      conditions: classes or captions to choose from; () for an unconditional model.
      max_steps: the most sampling steps.
      whole_clip: the part of a clip that is all of it, at its own rate.
    """

    def __init__(
        self,
        experiment: Experiment,
        model: Glober,
        examples: ExampleTexts | None,
        workdir: epath.Path,
        checkpoint: Which,
    ) -> None:
        """`examples` are the captions of a model of texts."""
        self.experiment, self.model = experiment, model
        self.workdir, self.checkpoint = workdir, checkpoint
        self.fps = experiment.sampling.fps
        self.kind = model.networks.condition.kind
        self._texts = examples.texts if examples else None
        captions = examples.captions if examples else ()
        self.conditions = model.names if self.kind == "class" else captions
        diffusion, generator = experiment.diffusion, experiment.generator_diffusion
        self.max_steps = min(MAX_STEPS, diffusion.num_timesteps, generator.num_timesteps)
        self.whole_clip = part_of_clip(0, 1, clip_frames=experiment.clip.num_frames, rate=1)
        self._chunk_frames = chunk_frames = min(_CHUNK_FRAMES, experiment.sampling.chunk_frames)
        self._compiled = functools.lru_cache(_KEPT_PROGRAMS)(
            lambda options: model.with_options(**vars(options) | {"chunk_frames": chunk_frames})
        )

    def command(self, request: VideoRequest) -> str:
        """The shell command that makes the same video."""
        return sample_command(request, self.kind, str(self.workdir), self.checkpoint)

    def generate(self, request: VideoRequest) -> Iterator[Stage]:
        """A new video. Raises `UserError` for a condition that the model does not have."""
        condition = self._condition(request.condition)
        model, begin = self._begin(request.sampling, request.part)
        yield begin
        start = time.monotonic()
        feature = model.generate_globals(1, condition, seed=request.seed)
        yield from self._decode(model, feature, request.part, request.seed, start)

    def between(self, first: VideoRequest, second: VideoRequest, count: int) -> Iterator[Stage]:
        """`count` videos side by side, interpolated between two global features.

        Frames, noise and sampling are those of `first`. Raises as `generate`.
        """
        ends = [(request.seed, self._condition(request.condition)) for request in (first, second)]
        model, begin = self._begin(first.sampling, first.part)
        yield begin
        start = time.monotonic()
        a, b = (model.generate_globals(1, condition, seed=seed) for seed, condition in ends)
        videos_NnXYC = np.full((count, first.part.frames, *begin.frames.shape[1:]), NOT_YET, "u1")
        # One by one, with the compiled program of a single video.
        for number, feature in enumerate(on_the_way(a, b, count), 1):
            *_, whole = self._decode(model, feature[None], first.part, first.seed, start)
            videos_NnXYC[number - 1] = whole.frames
            note = whole.note if number == count else f"Decoding: {number} of {count} videos"
            frames = media.tile_videos(videos_NnXYC, columns=count, gap=1)
            yield Stage(note, frames, first.part.frames, number / count)

    def redraw(
        self, clip_TXYC: np.ndarray, part: Part, sampling: dict[str, Any], seed: int
    ) -> Iterator[Stage]:
        """A given clip encoded, and a part of it decoded."""
        model, begin = self._begin(sampling, part)
        yield begin
        start = time.monotonic()
        yield from self._decode(model, self.model.encode(clip_TXYC), part, seed, start)

    def _decode(
        self, model: Glober, feature_1HWG: np.ndarray, part: Part, seed: int, start: float
    ) -> Iterator[Stage]:
        # Padded to whole chunks, so that one program serves all lengths.
        missing = -part.frames % self._chunk_frames
        index = np.pad(part.index_n, (0, missing), mode="edge")
        made: list[np.ndarray] = []
        for chunk in model.chunks(feature_1HWG, index, seed=seed):
            made.append(chunk.frames[0])
            frames = np.concatenate(made)[: part.frames]
            note = f"Decoding: {len(frames)} of {part.frames} frames"
            if len(frames) == part.frames:
                note = f"Done in {time.monotonic() - start:.1f} s"
            yield Stage(note, frames, part.frames, len(frames) / part.frames)

    def _begin(self, changes: dict[str, Any], part: Part) -> tuple[Glober, Stage]:
        """The model with changed sampling options, and the first stage of a request."""
        options = config.sampling_options(self.experiment, changes)
        misses = self._compiled.cache_info().misses
        model, note = self._compiled(options), "Sampling the global feature"
        if self._compiled.cache_info().misses > misses:
            note = "Compiling for this sampler, steps and guidance; the next time is fast"
        size = self.model.networks.frame_size
        return model, Stage(note, np.zeros((0, size, size, 3), np.uint8), part.frames, 0.0)

    def _condition(self, wanted: str | None) -> np.ndarray | None:
        if self.kind == "class":
            if wanted is None:
                raise UserError("The class is missing: choose one")
            return self.model.condition(wanted)
        if self._texts is None:
            return None
        if wanted not in self.conditions:
            raise UserError("That caption is not one of the examples: choose one of them")
        return self._texts[[self.conditions.index(wanted)]]


def read_clip(
    path: Path, *, begin: float, seconds: float, num_frames: int, num_key_frames: int, size: int
) -> np.ndarray:
    """At most `num_frames` frames spread evenly over a part of a video: uint8 [T, X, Y, C].

    The middle square of every frame is resized to `size`. Raises `UserError` for unreadable files
    and for parts of fewer than `num_key_frames` frames.
    """
    item = MediaItem(path.name, (path,), is_images=False)
    try:
        video = decode_media(item, fps=num_frames / seconds)
    except UndecodableError as error:
        raise UserError(f"That file cannot be used: {error}") from error
    # Assume the wanted rate if the container has none.
    fps = video.fps or num_frames / seconds
    first = round(begin * fps)
    frames = islice(video.frames, first, first + min(num_frames, max(round(seconds * fps), 1)))
    clip = [np.asarray(fit_square(frame, size)) for frame in frames]
    if len(clip) < num_key_frames:
        raise UserError(
            f"That part of the video has {len(clip)} frames and the model looks at "
            f"{num_key_frames}: begin earlier or take a longer part"
        )
    return np.stack(clip)


def beside(original_TXYC: np.ndarray, index_n: np.ndarray) -> np.ndarray:
    """The original's frame at each index of the clip, rounded down."""
    positions_n = np.floor(index_n * len(original_TXYC) + 1e-6).astype(int)
    return original_TXYC[np.clip(positions_n, 0, len(original_TXYC) - 1)]
