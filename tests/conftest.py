"""The tiny experiment and its parameters, made once for all tests."""

import pytest

from glober_jax.config import parse
from glober_jax.experiment import Experiment
from glober_jax.models.networks import Networks, Params
from glober_jax.sampling.decode import FrameModel
from tests.tiny import ALL_NETWORKS, drawn_params, tiny_config, tiny_latent_scale


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
def frame_model(experiment: Experiment, params: Params) -> FrameModel:
    return FrameModel(params, tiny_latent_scale(experiment))
