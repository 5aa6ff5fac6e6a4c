"""A trained GLOBER to call: noise -> global features -> frames, and videos back.

    model = pretrained.load("runs/quickstart")
    features = model.generate_globals(4, model.condition("sunset"), seed=0)
    frames = model.decode(features, np.linspace(0.25, 0.5, 128, endpoint=False))
    again = model.decode(model.encode(video), np.arange(32) / 32)

Everything here is a compiled call of a pure function: `generate.generate_features`,
`decode.encode_clip` and `decode.decode_frames`, which may be jitted into programs of your own.

Dimension key: B videos, n frames of each, T frames of a given video, K key frames, H, W, G global
feature, X, Y frame size, C colours, L tokens of a text, E their width.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jax.sharding import Mesh

from glober_jax.data.clips import ClipSpec
from glober_jax.diffusion.process import DiffusionProcess
from glober_jax.errors import UserError
from glober_jax.models.networks import Networks
from glober_jax.sampling.decode import Chunk, FrameModel, VideoSampler
from glober_jax.sampling.generate import FeatureModel, FeatureSampler
from glober_jax.sampling.options import SamplingOptions


class Glober:
    """A trained model and how to sample from it.

    Attributes:
      networks, clip, options: sizes; the clip it was trained on; how it samples.
      class_names: () where it knows none.
      frame_model, feature_model: parameters.
      trained_steps: of each stage.
    """

    def __init__(
        self,
        networks: Networks,
        clip: ClipSpec,
        diffusion: DiffusionProcess,
        generator_diffusion: DiffusionProcess,
        options: SamplingOptions,
        frame_model: FrameModel,
        feature_model: FeatureModel,
        class_names: Sequence[str],
        trained_steps: Mapping[str, int],
        mesh: Mesh,
    ) -> None:
        """Nothing is compiled before it is called; the devices of `mesh` share all frames."""
        self.networks, self.clip, self.options = networks, clip, options
        self.frame_model, self.feature_model = frame_model, feature_model
        self.class_names, self.trained_steps = tuple(class_names), dict(trained_steps)
        self._processes, self._mesh = (diffusion, generator_diffusion), mesh
        self._frames = VideoSampler(networks, diffusion, options, mesh)
        self._features = FeatureSampler(networks, generator_diffusion, options, mesh)

    def with_options(self, **changes: object) -> "Glober":
        """The same model, sampled in another way: any field of `SamplingOptions`."""
        return Glober(
            self.networks,
            self.clip,
            *self._processes,
            dataclasses.replace(self.options, **changes),
            self.frame_model,
            self.feature_model,
            self.class_names,
            self.trained_steps,
            self._mesh,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """What its classes are called: their numbers where weights came without names."""
        return self.class_names or tuple(map(str, range(self.networks.condition.num_classes)))

    def condition(self, wanted: str | int) -> np.ndarray:
        """A class by name or number, as `generate_globals` takes it for one video: int32 [1].

        Raises:
          UserError: the model knows no classes, or not this one.
        """
        network = self.networks.condition
        if network.kind != "class":
            raise UserError(f"this model knows no classes, so {wanted!r} is none of them")
        if wanted in self.names:
            return np.array([self.names.index(wanted)], np.int32)
        if str(wanted).isdecimal() and int(wanted) < len(self.names):
            return np.array([int(wanted)], np.int32)
        raise UserError(f"there is no class {wanted}: choose one of {', '.join(self.names)}")

    def generate_globals(
        self,
        count: int,
        condition: np.ndarray | None = None,
        *,
        seed: int = 0,
        first_video: int = 0,
    ) -> np.ndarray:
        """New global features, float32 [B, H, W, G], of the videos `first_video` ... of this seed.

        Args:
          count: B.
          condition: labels int32 [B], or text embeddings float16 [B, L, E], as the model was
            trained on; fewer are taken in turn. None for a model without condition, or for all
            classes in turn.
          seed, first_video: with its condition, decide a video.

        Raises:
          UserError: the condition is not of the model's kind.
        """
        return self._features(
            self.feature_model, self._conditions(count, condition, first_video), seed, first_video
        )

    def decode(
        self, global_BHWG: np.ndarray, index_n: np.ndarray, *, seed: int = 0, first_video: int = 0
    ) -> np.ndarray:
        """Frames at any real indices, 0 the clip's first and 1 its end: uint8 [B, n, X, Y, C].

        A frame does not depend on the others, but for rounding.
        """
        return self._frames.decode(
            self.frame_model, global_BHWG, np.asarray(index_n), seed, first_video
        )

    def chunks(
        self, global_BHWG: np.ndarray, index_n: np.ndarray, *, seed: int = 0, first_video: int = 0
    ) -> Iterator[Chunk]:
        """What `decode` returns, piece by piece, for videos that would not fit into memory."""
        return self._frames.chunks(
            self.frame_model, global_BHWG, np.asarray(index_n), seed, first_video
        )

    def encode(self, video_TXYC: np.ndarray) -> np.ndarray:
        """The mean global feature of a whole video, float32 [1, H, W, G], from its key frames.

        Args:
          video_TXYC: uint8, of the model's frame size, at least K frames; K evenly spaced ones are
            looked at, the first of them the first frame.

        Raises:
          UserError: too few frames, or of another size.
        """
        frames, keys = len(video_TXYC), self.networks.num_key_frames
        size = self.networks.frame_size
        if video_TXYC.shape[1:3] != (size, size):
            raise UserError(
                f"the video's frames are {video_TXYC.shape[2]}x{video_TXYC.shape[1]} and the "
                f"model takes {size}x{size}: crop and resize them first"
            )
        if frames < keys:
            raise UserError(f"the video has {frames} frames, and the model looks at {keys}")
        positions_K = np.arange(keys) * frames // keys
        return self._frames.encode(self.frame_model, video_TXYC[positions_K][None])

    def reconstruct(self, video_TXYC: np.ndarray, *, seed: int = 0) -> np.ndarray:
        """The video encoded and decoded at its own frames: uint8 [T, X, Y, C]; see `encode`."""
        index_T = np.arange(len(video_TXYC)) / len(video_TXYC)
        return self.decode(self.encode(video_TXYC), index_T, seed=seed)[0]

    def _conditions(self, count: int, given: np.ndarray | None, first_video: int) -> np.ndarray:
        network = self.networks.condition
        turn = np.arange(first_video, first_video + count)
        if given is None:
            if network.kind == "text":
                raise UserError("this model was trained on texts: give their embeddings")
            classes = max(network.num_classes, 1) if network.kind == "class" else 1
            return (turn % classes).astype(np.int32)
        given = np.asarray(given)
        wanted = (network.length, network.width) if network.kind == "text" else ()
        if given.shape[1:] != wanted:
            raise UserError(
                f"conditions shaped {list(given.shape)} are not what this model was trained on"
            )
        return given[np.arange(count) % len(given)]
