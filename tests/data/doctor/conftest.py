"""The data set that is damaged, and a place to examine what might crash."""

import multiprocessing
import shutil
from collections.abc import Iterator
from multiprocessing.pool import Pool
from pathlib import Path

import numpy as np
import pytest

from glober_jax.data.building import splits
from tests.data.doctor.planting import FRAMES, VIDEOS, make, shards_of, write_video


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10 training and 4 test videos of two classes, two to a shard; not to be modified."""
    root = tmp_path_factory.mktemp("doctor")
    rng = np.random.default_rng(0)
    for split, count in VIDEOS.items():
        for number in range(count):
            frames = rng.integers(0, 256, (FRAMES, 16, 16, 3), np.uint8)
            write_video(root / "videos" / split / "ab"[number % 2] / f"{number:03d}", frames)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splits, "LEAST_BYTES", 8_000)
        make(root / "videos", root / "whole")
    assert len(shards_of(root / "whole")) == 5
    return root / "whole"


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "copy")


@pytest.fixture
def elsewhere() -> Iterator[Pool]:
    """A process that may crash or hang without taking the tests along."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        yield pool
    pool.join()
