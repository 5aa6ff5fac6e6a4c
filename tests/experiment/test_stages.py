"""What all stages share: skipped updates, micro-batches, and batches of known shapes."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glober_jax.data.damage import DamageLog
from glober_jax.data.datasets.make import make_dataset
from glober_jax.data.datasets.synthetic_sky import SyntheticSkyOptions
from glober_jax.data.latent_videos import make_latents, open_latents
from glober_jax.data.loader import training_batches
from glober_jax.data.source import open_videos
from glober_jax.experiment.config import parse
from glober_jax.experiment.options import Experiment
from glober_jax.experiment.stages import STAGES, batch_shapes, build_stage, reads_text, stage_clip
from glober_jax.models.latents import ChannelScale
from glober_jax.models.networks import NETWORKS
from glober_jax.parallel.mesh import MeshShape, batch_sharding, device_batch, make_mesh
from glober_jax.sampling.decode import FrameModel
from glober_jax.training.state import SKIPPED
from tests.texts import CLIP_LENGTH, CLIP_WIDTH, write_captioned
from tests.tiny import (
    drawn_params,
    mesh_of,
    single_level_config,
    tiny_batch,
    tiny_config,
    tiny_latent_scale,
    with_moments,
)


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    """The single-level experiment, all but LPIPS on from the start.

    LPIPS divides by norms of features, which turns rounding into more than is allowed here.
    """
    config = single_level_config()
    config.model.generator.depth = 1
    config.codec.perceptual_weight = 0.0
    for stage in (config.codec, config.autoencoder):
        stage.adversarial.update({"weight": 0.1, "start_step": 0, "warmup_steps": 0})
    config.autoencoder.adversarial.clip_stride = 2
    return parse(config)


def stage_of(name: str, experiment: Experiment, **options: Any) -> Any:
    changed = dataclasses.replace(getattr(experiment, name), **options)
    return build_stage(dataclasses.replace(experiment, **{name: changed}), name, mesh_of())


def constants_of(name: str, experiment: Experiment) -> dict[str, ChannelScale]:
    if name == "codec":
        return {}
    if name == "autoencoder":
        return {"latent_scale": tiny_latent_scale(experiment)}
    return {"feature_scale": ChannelScale.constant(0.7, experiment.networks.global_shape[-1])}


@pytest.mark.parametrize("name", STAGES)
def test_a_skipped_update_moves_nothing(
    name: str, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when a stage's step takes its gradients without a look at them.

    One number stands for every network, and one network's gradient is not finite.
    """
    stage, constants = stage_of(name, experiment), constants_of(name, experiment)
    networks = list(jax.eval_shape(stage.create, constants).params)

    def gradients(stage: Any, state: Any, frozen: Any, batch: Any, **_: Any) -> tuple[Any, Any]:
        return {network: {"w": batch[network]} for network in networks}, {"loss": jnp.ones(())}

    monkeypatch.setattr(type(stage), "gradients", gradients)
    kwargs = {} if name == "generator" else {"adversarial": True}
    step = jax.jit(functools.partial(stage.step, **kwargs))
    ones = dict.fromkeys(networks, np.float32(1.0))
    before = stage.create(constants, given={network: {"w": jnp.ones(())} for network in networks})
    for _ in range(2):
        before, metrics = step(before, {}, ones)
        assert metrics[SKIPPED] == 0
    assert all(float(leaf) < 1 for leaf in jax.tree.leaves(before.params))
    after, metrics = step(before, {}, ones | {networks[0]: np.float32(np.nan)})
    assert metrics[SKIPPED] == 1 and (before.step, after.step) == (2, 3)
    jax.tree.map(np.testing.assert_array_equal, after, before.replace(step=after.step))


@pytest.mark.parametrize("name", STAGES[:2])
@pytest.mark.parametrize(("weight", "start"), [(0.1, 2), (0.0, 0)])
def test_discriminator_rests_until_the_adversary_starts(
    name: str, weight: float, start: int, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when gradients, weight decay or moments move it before the start, or without a weight.

    One number stands for every network, and every gradient is one; but of the second step, which is
    skipped, and which must not delay the start.
    """
    adversarial = dataclasses.replace(
        getattr(experiment, name).adversarial, weight=weight, start_step=start
    )
    stage = stage_of(name, experiment, adversarial=adversarial)
    constants = constants_of(name, experiment)
    ones = {net: {"w": jnp.ones(())} for net in jax.eval_shape(stage.create, constants).params}

    def gradients(stage: Any, state: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        value = np.nan if state.step == 1 else 1.0
        return jax.tree.map(lambda one: one * value, ones), {}

    monkeypatch.setattr(type(stage), "gradients", gradients)
    programs = stage.programs()
    assert [first for first, _ in programs] == ([0, start] if weight else [0])
    states = [stage.create(constants, given=ones)]
    for _ in range(4):
        states.append(programs[-1][1](states[-1], {}, {})[0])
    (discriminator,) = (net for net in ones if "discriminator" in net)

    def weights(network: str) -> list[float]:
        return [float(state.params[network]["w"]) for state in states]

    moves = weights(discriminator)
    assert moves[:3] == [1.0, 1.0, 1.0] and (moves[4] < 1.0) == (weight > 0)
    for network in ones.keys() - {discriminator}:
        values = weights(network)
        assert values[4] < values[3] < values[2] == values[1] < values[0] == 1.0
    assert set(states[-1].ema) == ones.keys() - {discriminator}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.long) for name in STAGES[:2]] + ["generator"],
)
def test_micro_batches_change_memory_and_no_number(name: str, experiment: Experiment) -> None:
    """Fails when parts draw their own noise, are weighted unequally, or lie in memory together."""
    params = drawn_params(experiment.networks, NETWORKS)
    constants = constants_of(name, experiment)
    batch = tiny_batch(experiment)
    if name != "codec":
        batch = with_moments(batch, experiment)
    frozen = {
        "codec": None,
        "autoencoder": {"frame_codec": params["frame_codec"]},
        "generator": FrameModel(params, tiny_latent_scale(experiment)),
    }[name]
    kwargs = {} if name == "generator" else {"adversarial": True}

    def measured(parts: int) -> tuple[Any, Any, int]:
        stage = stage_of(name, experiment, micro_batches=parts)
        shapes = jax.eval_shape(stage.create, constants)
        state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes).replace(
            params={network: params[network] for network in shapes.params}, constants=constants
        )
        compute = jax.jit(functools.partial(stage.gradients, **kwargs))
        compiled = compute.lower(state, frozen, batch).compile()
        memory = compiled.memory_analysis().temp_size_in_bytes
        return *jax.device_get(compiled(state, frozen, batch)), memory

    whole, whole_metrics, whole_memory = measured(1)
    parts, parts_metrics, parts_memory = measured(4)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(whole))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * largest), parts, whole)
    # Means of what is no mean.
    inexact = {"feature_std", "psnr"}
    assert parts_metrics.keys() == whole_metrics.keys()
    for metric in whole_metrics.keys() - inexact:
        np.testing.assert_allclose(parts_metrics[metric], whole_metrics[metric], rtol=1e-5)
    assert parts_memory < 0.5 * whole_memory


@pytest.mark.parametrize(("cached", "kind"), [(False, "class"), (False, "text"), (True, "class")])
def test_batches_are_known_without_data(tmp_path: Path, cached: bool, kind: str) -> None:
    """Fails when a field, shape or dtype of a stage's batches is another than is planned with."""
    config = tiny_config()
    config.data.update({"cache_latents": cached, "flip": False})
    if kind == "text":
        folder = write_captioned(tmp_path)
        config.clip.num_frames = config.model.frame_features.index_slots = 8
        config.model.condition.update({"kind": kind, "length": CLIP_LENGTH, "num_classes": 0})
        config.model.generator.context_width = CLIP_WIDTH
    else:
        folder = tmp_path / "sky"
        sky = SyntheticSkyOptions(num_videos=8, num_test_videos=1, num_frames=16, size=16)
        make_dataset(sky, folder)
    experiment = parse(config)
    source = videos = open_videos(folder, "train")
    if cached:
        shape = (8, 8, 2 * experiment.networks.latent_shape[-1])

        def encode(frames: np.ndarray) -> np.ndarray:
            return np.zeros((len(frames), *shape), np.float16)

        damage = DamageLog(len(videos), 0.0)
        latents = tmp_path / "latents"
        make_latents(latents, videos, encode, shape, "codec", flip=False, damage=damage, command="")
        source = open_latents(tmp_path / "latents", videos, "codec", flip=False)
    for stage in STAGES:
        batches = training_batches(
            videos if stage == "codec" else source,
            stage_clip(experiment, stage),
            batch_size=getattr(experiment, stage).batch_size,
            seed=0,
            text=reads_text(experiment, stage),
        )
        loaded = {name: (rows.shape, rows.dtype) for name, rows in next(batches).items()}
        shapes = batch_shapes(experiment, stage)
        assert loaded == jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), shapes)


def test_marked_clips_are_mirrored() -> None:
    """Fails when clips are mirrored that are not marked, upside down, or in only one field."""
    mesh = make_mesh(MeshShape(data=-1, fsdp=1, tensor=1))
    rng = np.random.default_rng(0)
    keys, targets = (rng.integers(0, 256, (8, count, 4, 6, 3), np.uint8) for count in (3, 2))
    mirrored = np.arange(8) % 3 == 0
    batch = {"key_frames": keys, "target_frames": targets, "label": np.arange(8, dtype=np.int32)}
    plain = device_batch(batch, mesh)
    marked = device_batch(batch | {"mirrored": mirrored}, mesh)
    assert plain.keys() == marked.keys() == batch.keys()
    for name, rows in batch.items():
        assert marked[name].sharding == plain[name].sharding == batch_sharding(mesh)
        np.testing.assert_array_equal(plain[name], rows)
        np.testing.assert_array_equal(marked[name][~mirrored], rows[~mirrored])
    for name in ("key_frames", "target_frames"):
        np.testing.assert_array_equal(marked[name][mirrored], batch[name][mirrored, ..., ::-1, :])
