"""A trained GLOBER to call: noise -> global features -> frames, and videos back.

    model = pretrained.load("runs/quickstart")
    features = model.generate_globals(4, model.condition("sunset"), seed=0)
    frames = model.decode(features, np.linspace(0.25, 0.5, 128, endpoint=False))
    again = model.decode(model.encode(video), np.arange(32) / 32)

The functions behind it, `generate.generate_features`, `decode.encode_clip` and
`decode.decode_frames`, are pure and may be jitted into other programs. Arguments are checked as
those of the commands; wrong ones raise `UserError`.

Dimension key: B videos, n frames of each, T frames of a given video, K key frames, H, W, G global
feature, X, Y frame size, C colours, L tokens of a text, E their width, h, w, Z latents of a frame.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from glober_jax.data.clips import ClipSpec
from glober_jax.diffusion.process import DiffusionProcess
from glober_jax.errors import UserError
from glober_jax.models.networks import Networks
from glober_jax.sampling.checks import MOST_VIDEOS, check_features, check_frames
from glober_jax.sampling.decode import Chunk, FrameModel, VideoSampler
from glober_jax.sampling.generate import FeatureModel, FeatureSampler
from glober_jax.sampling.indices import check_indices
from glober_jax.sampling.inside import Denoising, denoising, frame_maps
from glober_jax.sampling.options import SamplingOptions, changed
from glober_jax.values import check_seed, check_whole


@dataclasses.dataclass(frozen=True, eq=False)
class Glober:
    """A trained model and its sampling options.

    Attributes:
      networks, clip: sizes; the clip it was trained on.
      diffusion, generator_diffusion: noise processes of frames and of global features.
      options: of sampling.
      frame_model, feature_model: parameters.
      class_names: () without classes, or where the weights came without names.
      trained_steps: of each stage.
      mesh: devices that share all frames.
      branch_shares: the trained branches of guidance, see `options.changed`.
    """

    networks: Networks
    clip: ClipSpec
    diffusion: DiffusionProcess
    generator_diffusion: DiffusionProcess
    options: SamplingOptions
    frame_model: FrameModel
    feature_model: FeatureModel
    class_names: tuple[str, ...]
    trained_steps: Mapping[str, int]
    mesh: Mesh
    branch_shares: Mapping[str, float] | None = None

    # Compiled on first use.
    @functools.cached_property
    def _frames(self) -> VideoSampler:
        return VideoSampler(self.networks, self.diffusion, self.options, self.mesh)

    @functools.cached_property
    def _features(self) -> FeatureSampler:
        return FeatureSampler(self.networks, self.generator_diffusion, self.options, self.mesh)

    @functools.cached_property
    def _frame_maps(self) -> Callable[..., tuple[jax.Array, ...]]:
        return jax.jit(functools.partial(frame_maps, self.networks))

    def with_options(self, **changes: object) -> "Glober":
        """The same model with other `SamplingOptions`; `UserError` as of `options.changed`."""
        processes = (self.diffusion, self.generator_diffusion)
        options = changed(self.options, changes, processes, self.branch_shares)
        return dataclasses.replace(self, options=options)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its classes; their numbers where the weights came without names."""
        return self.class_names or tuple(map(str, range(self.networks.condition.num_classes)))

    def condition(self, wanted: str | int) -> np.ndarray:
        """A class by name or number, for `generate_globals`: int32 [1]; `UserError` if unknown."""
        network = self.networks.condition
        if network.kind != "class":
            raise UserError(f"this model knows no classes, so {wanted!r} is none of them")
        if isinstance(wanted, str) and wanted in self.names:
            return np.array([self.names.index(wanted)], np.int32)
        numbers = [str(number) for number in range(len(self.names))]
        if str(wanted) in numbers:
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
          count: B, at most `MOST_VIDEOS`.
          condition: labels int32 [B], or text embeddings float16 [B, L, E]; fewer are taken in
            turn. None: no condition, or all classes in turn.
          seed, first_video: decide a video, with its condition.
        """
        count = check_whole(count, "count", 1, MOST_VIDEOS)
        seed, first_video = _checked(seed, first_video)
        conditions = self._conditions(count, condition, first_video)
        return self._features(self.feature_model, conditions, seed, first_video)

    def decode(
        self, global_BHWG: np.ndarray, index_n: np.ndarray, *, seed: int = 0, first_video: int = 0
    ) -> np.ndarray:
        """Frames at any real indices, 0 the clip's first and 1 its end: uint8 [B, n, X, Y, C].

        A frame does not depend on the others, but for rounding.
        """
        return self._frames.decode(*self._decoded(global_BHWG, index_n, seed, first_video))

    def chunks(
        self, global_BHWG: np.ndarray, index_n: np.ndarray, *, seed: int = 0, first_video: int = 0
    ) -> Iterator[Chunk]:
        """The frames of `decode`, piece by piece, for videos that do not fit into memory."""
        return self._frames.chunks(*self._decoded(global_BHWG, index_n, seed, first_video))

    def encode(self, video_TXYC: np.ndarray) -> np.ndarray:
        """The mean global feature, float32 [1, H, W, G], of a uint8 video of at least K frames.

        The K key frames are spaced over all of the video as over a training clip.
        """
        video_TXYC = check_frames(video_TXYC, "T", self.networks.frame_size, "the video")
        frames, keys = len(video_TXYC), self.networks.num_key_frames
        if frames < keys:
            raise UserError(f"the video has {frames} frames, and the model looks at {keys}")
        whole = dataclasses.replace(self.clip, num_frames=frames, num_target_frames=0)
        return self._frames.encode(self.frame_model, video_TXYC[whole.key_positions][None])

    def encode_frames(self, frames_BnXYC: np.ndarray) -> np.ndarray:
        """The frame codec alone, all frames at once: unit-variance latents [B, n, h, w, Z]."""
        frames_BnXYC = check_frames(frames_BnXYC, "Bn", self.networks.frame_size, "the array")
        return self._frames.encode_frames(self.frame_model, frames_BnXYC)

    def decode_latents(self, latents_BnhwZ: np.ndarray) -> np.ndarray:
        """The frame codec's decoder: uint8 frames [B, n, X, Y, C] of unit-variance latents."""
        latents = check_features(latents_BnhwZ, "Bn", self.networks.latent_shape, "the latents")
        return self._frames.decode_latents(self.frame_model, latents)

    def reconstruct(self, video_TXYC: np.ndarray, *, seed: int = 0) -> np.ndarray:
        """The video encoded and decoded at its own frames: uint8 [T, X, Y, C]; see `encode`."""
        feature = self.encode(video_TXYC)
        return self.decode(feature, np.arange(len(video_TXYC)) / len(video_TXYC), seed=seed)[0]

    def frame_features(self, global_BHWG: np.ndarray, index_n: np.ndarray) -> tuple[Any, ...]:
        """The decoder's conditioning maps of frames; see `inside.frame_maps`."""
        model, features, index_n, *_ = self._decoded(global_BHWG, index_n, 0, 0)
        return jax.device_get(self._frame_maps(model, features, np.float32(index_n)))

    def denoising(
        self, global_BHWG: np.ndarray, index_n: np.ndarray, *, seed: int = 0, first_video: int = 0
    ) -> Denoising:
        """The steps in which `decode` makes a few frames: see `inside.denoising`."""
        given = self._decoded(global_BHWG, index_n, seed, first_video)
        return denoising(self.networks, self.diffusion, self.options, *given)

    def _decoded(self, features: Any, indices: Any, seed: Any, first_video: Any) -> tuple[Any, ...]:
        """The arguments of `VideoSampler.decode`, checked."""
        shape = self.networks.global_shape
        global_BHWG = check_features(features, "B", shape, "the global feature")
        index_n = check_indices(indices, "index_n")
        return self.frame_model, global_BHWG, index_n, *_checked(seed, first_video)

    def _conditions(self, count: int, given: np.ndarray | None, first_video: int) -> np.ndarray:
        network = self.networks.condition
        turn = np.arange(first_video, first_video + count)
        if given is None:
            if network.kind == "text":
                raise UserError("this model was trained on texts: give their embeddings")
            classes = max(network.num_classes, 1) if network.kind == "class" else 1
            return (turn % classes).astype(np.int32)
        if network.kind == "text":
            check_features(given, "B", (network.length, network.width), "the condition")
            return np.asarray(given)[np.arange(count) % len(given)]
        labels = np.asarray(given)
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or not labels.size:
            raise UserError(
                f"conditions of {labels.dtype} shaped {list(labels.shape)} are not what this model "
                "was trained on: give labels int32 [B], such as model.condition(name)"
            )
        for label in np.unique(labels):
            if label or network.kind == "class":
                self.condition(label)
        return labels.astype(np.int32)[np.arange(count) % len(labels)]


def _checked(seed: Any, first_video: Any) -> tuple[int, int]:
    # Numbers of videos are int32.
    return check_seed(seed), check_whole(first_video, "first_video", 0, 2**31 - 1 - MOST_VIDEOS)
