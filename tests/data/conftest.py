"""A small synthetic-sky dataset on disk, and small shards."""

from pathlib import Path

import pytest

from glober_jax.data.building import splits
from glober_jax.data.datasets.make import make_dataset
from glober_jax.data.datasets.synthetic_sky import SyntheticSkyOptions

SKY_OPTIONS = SyntheticSkyOptions(num_videos=8, num_test_videos=4, num_frames=20, size=32)


@pytest.fixture(scope="session")
def sky_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 training and 4 test videos of 20 frames at 32 pixels; not to be modified."""
    folder = tmp_path_factory.mktemp("sky")
    make_dataset(SKY_OPTIONS, folder)
    return folder


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of one or two videos."""
    monkeypatch.setattr(splits, "LEAST_BYTES", 8_000)
