"""A whole experiment small enough to compile in seconds, and parameters that hide nothing.

16x16 frames, 8x8 latents, a 4x4 global feature, 16 channels in groups of four: with one channel
per group a norm would erase the embeddings of time and index. Every mechanism is on: a codec with
two levels, a UNet and an encoder that halve once, classes, an adversary that starts late and
judges every second clip.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from jax.sharding import AxisType, Mesh

from configs import quickstart
from glober_jax.experiment.options import Experiment
from glober_jax.models.latents import ChannelScale
from glober_jax.models.networks import NETWORKS, Networks, Params
from glober_jax.sampling.decode import FrameModel
from glober_jax.sampling.generate import FeatureModel
from glober_jax.sampling.glober import Glober

# For XLA_FLAGS. Tests compile much and run little, and fused loops take longest to compile.
QUICK_TO_COMPILE = "--xla_cpu_use_fusion_emitters=false"

FIXTURES = Path(__file__).parent / "fixtures"


def tiny_config() -> ml_collections.ConfigDict:
    """The quick start with narrow networks and a few steps; `data.dir` has to be set."""
    config = quickstart.get_config()
    config.frame_size = 16
    config.clip.update(num_frames=16, num_key_frames=4, num_target_frames=3)
    model = config.model
    config.codec.pretrained = ""
    model.frame_codec.update(channels=8, multipliers=(1, 2), latent_channels=4, patch_size=1)
    model.frame_codec.update(attention=True, groups=4)
    model.patch_discriminator.update(channels=8, multipliers=(1, 2))
    model.video_encoder.update(channels=16, multipliers=(1, 2), blocks_per_level=1)
    model.video_encoder.update(global_channels=16, head_dim=8, groups=4)
    model.frame_features.update(index_slots=16, head_dim=8, groups=4)
    model.global_tokens.width = 16
    model.unet.update(channels=16, heads=2, groups=4)
    model.discriminator.update(channels=8, multipliers=(1, 2), head_dim=8, groups=4)
    model.discriminator.update(temporal_levels=(1,), spatial_levels=(1,))
    model.generator.update(width=32, depth=2, heads=2, context_width=16, lead_channels=4)
    for stage in ("codec", "autoencoder", "generator"):
        config[stage].update(steps=4, batch_size=8)
        config[stage].optimizer.warmup_steps = 1
    config.autoencoder.adversarial.update(weight=0.1, start_step=1, warmup_steps=2)
    config.loop.update(log_every=1, preview_every=0, checkpoint_every=2)
    config.sampling.update(sampler="ddim", spacing="trailing", steps=2, decoder_steps=0, eta=0.5)
    config.sampling.update(condition_scale=2.0, shared_noise=0.0, chunk_frames=16)
    config.evaluation.protocol = ""
    return config


def single_level_config() -> ml_collections.ConfigDict:
    """The tiny config without the levels that halve maps: for tests that compile gradients."""
    config = tiny_config()
    config.frame_size = 8
    model = config.model
    model.video_encoder.multipliers = (1,)
    model.unet.update(multipliers=(1,), attention_levels=())
    model.discriminator.update(multipliers=(1,), temporal_levels=(0,), spatial_levels=())
    return config


def mesh_of(data: int = 1, fsdp: int = 1, tensor: int = 1) -> Mesh:
    """A mesh of the first devices, however many there are: `make_mesh` wants all of them."""
    devices = jax.devices()[: data * fsdp * tensor]
    axes, types = ("data", "fsdp", "tensor"), (AxisType.Auto,) * 3
    return jax.make_mesh((data, fsdp, tensor), axes, axis_types=types, devices=devices)


def perturbed(params: Any, key: jax.Array, scale: float = 0.05) -> Any:
    """The same tree with `scale` * normal noise added to every leaf.

    Zero-initialised last layers stop gradients and make every residual branch the identity, so a
    test on fresh parameters sees nothing of what lies behind them.
    """
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf + scale * rng.standard_normal(leaf.shape), leaf.dtype), params
    )


def norm(tree: Any) -> float:
    return float(optax.tree.norm(tree))


def assert_same_tree(a: Any, b: Any, scale: float = 1.0) -> None:
    """`a` * scale equals `b`, leaf by leaf, relative to the largest number of the tree."""
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(b))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(scale * x, y, atol=1e-4 * largest), a, b)


def drawn_params(networks: Networks, names: tuple[str, ...], seed: int = 0) -> Params:
    """Random parameters without a compilation: kernels by fan-in, norms about 1, then perturbed."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: networks.init_all(names, jax.random.key(0)))

    def draw(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if path[-1].key == "scale":
            return np.ones(leaf.shape, np.float32)
        fan_in = max(int(np.prod(leaf.shape[:-1])), 1)
        width = fan_in**-0.5 if path[-1].key == "kernel" else 0.5 * (leaf.ndim > 1)
        return (width * rng.standard_normal(leaf.shape)).astype(np.float32)

    return perturbed(jax.tree_util.tree_map_with_path(draw, shapes), jax.random.key(seed))


def tiny_batch(experiment: Experiment, seed: int = 0) -> dict[str, np.ndarray]:
    """A random global batch of the autoencoder stage: uint8 frames, indices and labels."""
    rng = np.random.default_rng(seed)
    clip, size = experiment.clip, experiment.networks.frame_size
    batch = experiment.autoencoder.batch_size

    def frames(count: int) -> np.ndarray:
        return rng.integers(0, 256, (batch, count, size, size, 3), np.uint8)

    positions = [
        np.sort(rng.choice(clip.num_frames, clip.num_target_frames, replace=False))
        for _ in range(batch)
    ]
    return {
        "key_frames": frames(clip.num_key_frames),
        "target_frames": frames(clip.num_target_frames),
        "target_index": (np.stack(positions) / clip.num_frames).astype(np.float32),
        "label": rng.integers(0, 4, batch).astype(np.int32),
    }


def with_moments(batch: dict[str, np.ndarray], experiment: Experiment) -> dict[str, np.ndarray]:
    """The batch with random cached codec moments in place of its frames."""
    rng = np.random.default_rng(0)
    height, width, channels = experiment.networks.latent_shape

    def moments(frames: np.ndarray) -> np.ndarray:
        shape = (*frames.shape[:2], height, width, 2 * channels)
        return rng.standard_normal(shape).astype(np.float32)

    return batch | {name: moments(batch[name]) for name in ("key_frames", "target_frames")}


def tiny_latent_scale(experiment: Experiment) -> ChannelScale:
    """A scale that is not the identity."""
    channels = experiment.networks.latent_shape[-1]
    return ChannelScale(jnp.linspace(-0.2, 0.3, channels), jnp.linspace(0.8, 1.5, channels))


def drawn_glober(experiment: Experiment, class_names: tuple[str, ...] = ()) -> Glober:
    """Random parameters of every network, to call."""
    networks = experiment.networks
    params = drawn_params(networks, NETWORKS)
    channels = networks.global_shape[-1]
    return Glober(
        networks,
        experiment.clip,
        experiment.diffusion,
        experiment.generator_diffusion,
        experiment.sampling,
        FrameModel(params, tiny_latent_scale(experiment)),
        FeatureModel(params, ChannelScale(jnp.zeros(channels), jnp.ones(channels))),
        class_names,
        trained_steps={},
        mesh=mesh_of(),
    )


def narrow_lpips_params(channels: int = 4) -> dict[str, Any]:
    """Random weights in the layout of VGG16's LPIPS, so that no test needs the real ones."""
    rng = np.random.default_rng(0)

    def layer(inputs: int) -> dict[str, np.ndarray]:
        kernel = rng.standard_normal((3, 3, inputs, channels)) * (2 / (9 * inputs)) ** 0.5
        return {"kernel": kernel.astype(np.float32), "bias": np.zeros(channels, np.float32)}

    return {
        "convolutions": [layer(3), *(layer(channels) for _ in range(12))],
        "channel_weights": [np.full(channels, 0.2, np.float32) for _ in range(5)],
    }
