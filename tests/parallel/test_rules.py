"""The table of sharding rules, on the shapes of the published sizes; nothing is compiled."""

import dataclasses
import math
import re

import jax
import pytest
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

from configs import skytimelapse, ucf101
from glober_jax.experiment.config import parse
from glober_jax.experiment.options import Experiment
from glober_jax.experiment.stages import abstract_stage
from glober_jax.models.networks import NETWORKS
from glober_jax.parallel.mesh import AXES
from glober_jax.parallel.rules import MIN_SHARDED_SIZE, TENSOR_RULES, parameter_spec, tree_shardings

Shapes = dict[str, tuple[int, ...]]


def abstract_mesh(data: int, fsdp: int, tensor: int) -> AbstractMesh:
    return AbstractMesh((data, fsdp, tensor), AXES)


@pytest.fixture(scope="module")
def published() -> Experiment:
    return parse(skytimelapse.get_config())


@pytest.fixture(scope="module")
def shapes(published: Experiment) -> Shapes:
    """Every parameter of every network by path, and of the generator's convolutional variant."""
    networks = published.networks
    convolutional = networks.generator.clone(feed_forward="conv")
    trees = networks.shapes(NETWORKS)
    trees |= parse(ucf101.get_config()).networks.shapes(("condition",))
    trees["convolutional"] = dataclasses.replace(networks, generator=convolutional).shapes(
        ("generator",)
    )
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(trees)
    }


@pytest.mark.parametrize(
    ("path", "shape", "sizes", "spec"),
    [
        ("unet/x/kernel", (255, 256), (2, 4, 1), ()),
        ("unet/x/kernel", (256, 256), (8, 1, 1), (None, None)),
        ("unet/x/kernel", (3, 3, 640, 320), (2, 4, 2), (None, None, "fsdp", None)),
        ("a/block0/conv_in/conv/kernel", (640, 320), (2, 2, 2), ("fsdp", "tensor")),
        ("a/block0/conv_out/conv/kernel", (320, 320), (2, 2, 2), ("tensor", "fsdp")),
        ("a/block0/conv_in/conv/kernel", (1280, 321), (2, 2, 2), ("fsdp", None)),
        ("unet/x/kernel", (257, 257), (1, 4, 2), (None, None)),
    ],
)
def test_parameters_are_sharded_by_the_rule(
    path: str, shape: tuple[int, ...], sizes: tuple[int, int, int], spec: tuple[str | None, ...]
) -> None:
    """Fails when a small array is cut, or a large one is not."""
    assert parameter_spec(path, shape, abstract_mesh(*sizes)) == PartitionSpec(*spec)


def test_every_rule_holds_for_something_large(shapes: Shapes) -> None:
    """Fails when a layer is renamed and its rule is left behind.

    Every name of a rule's first group has to be there.
    """
    large = [path for path, shape in shapes.items() if math.prod(shape) >= MIN_SHARDED_SIZE]
    for pattern, _ in TENSOR_RULES:
        group = re.match(r"\((.*?)\)", pattern)
        names = group[1].split("|") if group else [pattern]
        for name in names:
            alone = pattern.replace(group[0], name, 1) if group else pattern
            assert any(re.search(rf"(^|[/_]){alone}$", path) for path in large), alone


# The least fraction of parameters that is cut over `tensor`; of the generator, shifts and
# scales are as large as attention and MLP together, and hardly computed with.
LEAST_CUT = {
    "unet": 0.76,
    "frame_codec": 0.89,
    "video_encoder": 0.87,
    "frame_features": 0.94,
    "global_tokens": 0.99,
    "generator": 0.49,
    "discriminator": 0.46,
}


@pytest.mark.parametrize("network", LEAST_CUT)
def test_nearly_all_is_cut(shapes: Shapes, network: str) -> None:
    """Fails when a rule misses its layers, or a cut is not there when parameters are large:
    everything large lies in shards over fsdp=8.
    """
    mine = {path: shape for path, shape in shapes.items() if path.startswith(f"{network}/")}
    cut = dict.fromkeys(("fsdp", "tensor"), 0)
    for path, shape in mine.items():
        spec = parameter_spec(path, shape, abstract_mesh(1, 8, 2))
        if math.prod(shape) >= MIN_SHARDED_SIZE:
            assert "fsdp" in spec, f"{path} {shape} lies whole on every device"
        for axis in cut:
            cut[axis] += math.prod(shape) * (axis in spec)
    assert cut["tensor"] > LEAST_CUT[network] * sum(map(math.prod, mine.values()))


def test_channels_are_cut_in_pairs(shapes: Shapes) -> None:
    """Fails when a layer's outputs are cut and the inputs of the next are not, or the reverse."""
    mesh = abstract_mesh(1, 1, 2)
    pairs = 0
    for path, shape in shapes.items():
        second = re.sub("(conv|mlp|time|index)_in/", r"\1_out/", path)
        if second == path or second not in shapes:
            continue
        if min(math.prod(shape), math.prod(shapes[second])) >= MIN_SHARDED_SIZE:
            cuts = [parameter_spec(p, shapes[p], mesh) for p in (path, second)]
            assert ("tensor" in cuts[0]) == ("tensor" in cuts[1]), (path, second, cuts)
            pairs += 1
    assert pairs > 60


def test_averages_and_moments_lie_with_their_parameters(published: Experiment) -> None:
    """Fails when an update has to fetch what it updates."""
    mesh = abstract_mesh(1, 8, 2)
    state = abstract_stage(published, "generator", mesh).state
    shardings = {
        jax.tree_util.keystr(path, simple=True, separator="/"): sharding
        for path, sharding in jax.tree_util.tree_leaves_with_path(tree_shardings(state, mesh))
    }
    end = "/generator/block0/attention_out/kernel"
    found = {path: s for path, s in shardings.items() if path.endswith(end)}
    assert len(found) == 4, "parameter, average and two moments"
    assert set(found.values()) == {NamedSharding(mesh, PartitionSpec("tensor", "fsdp"))}
