"""All the networks of one experiment.

Dimension key: B, K, n, h, w, Z, H, W, G as in the networks' own files.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from glober_jax.models.compat import Compat
from glober_jax.models.condition import ConditionTokens
from glober_jax.models.discriminator import PairDiscriminator, PatchDiscriminator
from glober_jax.models.frame_codec import FrameCodec
from glober_jax.models.generator import GlobalGenerator
from glober_jax.models.video_decoder import FrameFeatures, GlobalTokens, UNet
from glober_jax.models.video_encoder import VideoEncoder

Params = dict[str, Any]

# Networks of the autoencoder stage without the discriminator: those that sampling needs.
AUTOENCODER = ("video_encoder", "frame_features", "global_tokens", "unet")


@dataclasses.dataclass(frozen=True)
class Networks:
    """Network definitions by name, and the sizes of their inputs. Holds no parameters."""

    frame_codec: FrameCodec
    patch_discriminator: PatchDiscriminator
    video_encoder: VideoEncoder
    frame_features: FrameFeatures
    global_tokens: GlobalTokens
    unet: UNet
    discriminator: PairDiscriminator
    generator: GlobalGenerator
    condition: ConditionTokens
    frame_size: int
    num_key_frames: int

    @property
    def compat(self) -> Compat:
        """ "reference" where networks and training are the published ones."""
        return self.frame_features.compat

    @property
    def dtype(self) -> DTypeLike:
        """The compute dtype of all networks, except in norms."""
        return self.unet.dtype

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(h, w, Z) of one frame."""
        side = self.frame_size // self.frame_codec.factor
        return side, side, self.frame_codec.latent_channels

    @property
    def global_shape(self) -> tuple[int, int, int]:
        """(H, W, G) of one clip's global feature."""
        side = self.latent_shape[0] // 2 ** (len(self.video_encoder.multipliers) - 1)
        return side, side, self.video_encoder.global_channels

    def init(self, name: str, key: jax.Array) -> Params:
        """Freshly initialised parameters of one network; works under `jax.eval_shape`."""
        # A network without parameters has no such collection.
        return getattr(self, name).init(key, *self.example_inputs(name)).get("params", {})

    def init_all(
        self, names: tuple[str, ...], key: jax.Array, given: Params | None = None
    ) -> Params:
        """Parameters of several networks by name: those of `given`, others freshly initialised."""
        keys, given = jax.random.split(key, len(names)), given or {}
        return {
            name: given[name] if name in given else self.init(name, k)
            for name, k in zip(names, keys, strict=True)
        }

    def shapes(self, names: tuple[str, ...]) -> Params:
        """Abstract parameters of several networks, by name; not to be changed."""
        return {name: _shapes(self, name) for name in names}

    def apply(self, params: Params, name: str, *inputs: Any, method: str | None = None) -> Any:
        """Runs network `name` with `params[name]`."""
        return getattr(self, name).apply({"params": params[name]}, *inputs, method=method)

    def count_parameters(self) -> dict[str, int]:
        """Parameters of every network, by name, without making them."""
        return count_parameters(self.shapes(NETWORKS))

    def example_inputs(self, name: str) -> tuple[Any, ...]:
        """Zeros of the shapes that network `name` takes: one row, one frame."""

        def zeros(*shape: int) -> jax.Array:
            return jnp.zeros((1, *shape), jnp.float32)

        (side, _, channels), feature = self.latent_shape, zeros(*self.global_shape)
        frame, latents = zeros(self.frame_size, self.frame_size, 3), zeros(side, side, channels)
        context = zeros(self.condition.length, self.generator.context_width)
        tokens = zeros(feature.shape[1] * feature.shape[2] // 4, self.global_tokens.width)
        widths = enumerate(self.unet.feature_widths)
        maps = [zeros(side >> level, side >> level, width) for level, width in widths]
        maps += [latents] * (self.frame_features.estimate_channels > 0)
        label = context if self.condition.field == "text" else jnp.zeros(1, jnp.int32)
        return {
            "frame_codec": (frame, latents),
            "patch_discriminator": (frame,),
            "video_encoder": (zeros(self.num_key_frames, *self.latent_shape),),
            "frame_features": (feature, zeros(1)),
            "global_tokens": (feature, zeros()),
            "unet": (latents, zeros(), tokens, tuple(maps)),
            "discriminator": (zeros(2, *frame.shape[1:]),),
            "condition": (label, zeros()),
            "generator": (feature, zeros(len(self.generator.groups)), context),
        }[name]


def count_parameters(params: Params) -> dict[str, int]:
    """The number of parameters of each network in `params`, which may be abstract."""
    return {name: sum(leaf.size for leaf in jax.tree.leaves(tree)) for name, tree in params.items()}


@functools.cache
def _shapes(networks: Networks, name: str) -> Params:
    return jax.eval_shape(lambda: networks.init(name, jax.random.key(0)))


# The names of all networks, each before those that take sizes from it.
NETWORKS = tuple(
    field.name
    for field in dataclasses.fields(Networks)
    if field.name not in ("frame_size", "num_key_frames")
)
