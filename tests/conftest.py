"""The tiny experiment and its parameters, made once for all tests; and the suite's options."""

import gc
import os
from pathlib import Path

import jax
import pytest

from glober_jax.experiment.config import parse
from glober_jax.experiment.options import Experiment
from glober_jax.models.networks import NETWORKS, Networks, Params
from glober_jax.sampling.decode import FrameModel
from glober_jax.sampling.glober import Glober
from tests.tiny import (
    FIXTURES,
    QUICK_TO_COMPILE,
    drawn_glober,
    drawn_params,
    single_level_config,
    tiny_config,
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


def pytest_collection_finish() -> None:
    """Garbage is collected rarely, and not among what was imported: tracing is a seventh faster."""
    gc.freeze()
    gc.set_threshold(50_000)


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
    return drawn_params(networks, NETWORKS)


@pytest.fixture(scope="session")
def small_experiment() -> Experiment:
    """`tests.tiny.single_level_config`, checked."""
    return parse(single_level_config())


@pytest.fixture(scope="session")
def small_model(small_glober: Glober) -> FrameModel:
    """Random parameters of every network of `small_experiment`."""
    return small_glober.frame_model


@pytest.fixture(scope="session")
def small_glober(small_experiment: Experiment) -> Glober:
    """Random parameters of every network of `small_experiment`, to call."""
    return drawn_glober(small_experiment, ("clear", "broken", "overcast", "sunset"))
