"""The tiny experiment and its parameters, made once for all tests; and the suite's options."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from glober_jax.experiment.config import parse
from glober_jax.experiment.options import Experiment
from glober_jax.models.latents import ChannelScale
from glober_jax.models.networks import Networks, Params
from glober_jax.sampling.decode import FrameModel
from glober_jax.sampling.generate import FeatureModel
from glober_jax.sampling.glober import Glober
from tests.tiny import (
    ALL_NETWORKS,
    FIXTURES,
    QUICK_TO_COMPILE,
    drawn_params,
    mesh_of,
    single_level_config,
    tiny_config,
    tiny_latent_scale,
)

# Half the compile time for twice the (tiny) run time. The flags are read at the first computation.
jax.config.update("jax_disable_most_optimizations", True)
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK_TO_COMPILE}"


_RECORDED = Path(__file__).parents[2] / "shared" / "fixtures"


def pytest_addoption(parser: pytest.Parser) -> None:
    """--long, and --recorded for tests/parity; here, so that every call of pytest knows them."""
    parser.addoption("--long", action="store_true", help="also tests that take minutes each")
    parser.addoption(
        "--recorded",
        metavar="DIR",
        default=str(_RECORDED if _RECORDED.is_dir() else FIXTURES),
        help="arrays recorded from the published release, for tests/parity; by default "
        "../shared/fixtures where that is there, else tests/fixtures",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what is marked long, unless asked for."""
    if config.getoption("--long"):
        return
    long = [item for item in items if item.get_closest_marker("long")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


@pytest.fixture(scope="session")
def experiment() -> Experiment:
    """`tests.tiny.tiny_config`, checked."""
    return parse(tiny_config())


@pytest.fixture(scope="session")
def networks(experiment: Experiment) -> Networks:
    return experiment.networks


@pytest.fixture(scope="session")
def params(networks: Networks) -> Params:
    """Random parameters of every network, none of them zero."""
    return drawn_params(networks, ALL_NETWORKS)


@pytest.fixture(scope="session")
def small_experiment() -> Experiment:
    """`tests.tiny.single_level_config`, checked."""
    return parse(single_level_config())


@pytest.fixture(scope="session")
def small_model(small_experiment: Experiment) -> FrameModel:
    """Random parameters of every network of `small_experiment`."""
    params = drawn_params(small_experiment.networks, ALL_NETWORKS)
    return FrameModel(params, tiny_latent_scale(small_experiment))


@pytest.fixture(scope="session")
def small_glober(small_experiment: Experiment, small_model: FrameModel) -> Glober:
    """Random parameters of every network of `small_experiment`, to call."""
    channels = small_experiment.networks.global_shape[-1]
    scale = ChannelScale(jnp.zeros(channels), jnp.ones(channels))
    return Glober(
        small_experiment.networks,
        small_experiment.clip,
        small_experiment.diffusion,
        small_experiment.generator_diffusion,
        small_experiment.sampling,
        small_model,
        FeatureModel(small_model.params, scale),
        class_names=("clear", "broken", "overcast", "sunset"),
        trained_steps={},
        mesh=mesh_of(),
    )
