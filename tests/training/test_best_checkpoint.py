"""The best checkpoint outlives newer ones."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from glober_jax.errors import UserError
from glober_jax.training.best_checkpoint import Grade
from glober_jax.training.checkpoint import StageCheckpoints, load_averaged
from tests.tiny import mesh_of

CONFIG = {"model": {}, "frame_size": 16}


def save(workdir: Path, values: dict[int, float | None]) -> None:
    """Checkpoints at these steps that hold their own step, graded by these values."""
    with StageCheckpoints(workdir, "generator", CONFIG, keep=2) as checkpoints:
        for step, value in values.items():
            grade = None if value is None else Grade("score", value)
            checkpoints.save(step, {"ema": {"step": jnp.float32(step)}}, grade)


def loaded(workdir: Path, which: str) -> float:
    abstract = {"ema": {"step": jax.ShapeDtypeStruct((), jnp.float32)}}
    step, values = load_averaged(workdir, "generator", abstract, mesh_of(), which)
    assert values["ema"]["step"] == step
    return step


def test_best_and_newest_are_kept(tmp_path: Path) -> None:
    """Fails when the best is deleted, too many are kept, or the wrong one is taken.

    A run that goes on must know earlier grades.
    """
    save(tmp_path, {1: 9.0, 2: None, 3: 1.0, 4: None})
    save(tmp_path, {5: 5.0, 6: None, 7: None})
    kept = sorted(int(path.name) for path in (tmp_path / "generator").iterdir())
    assert kept == [3, 6, 7]
    assert (loaded(tmp_path, "best"), loaded(tmp_path, "newest")) == (3, 7)


def test_a_step_trained_anew_is_graded_anew(tmp_path: Path) -> None:
    save(tmp_path, {1: 1.0, 2: 2.0})
    (tmp_path / "generator" / "1").rename(tmp_path / "lost")
    save(tmp_path, {3: 0.5})
    assert loaded(tmp_path, "best") == 3


def test_without_grades_there_is_no_best(tmp_path: Path) -> None:
    save(tmp_path, {1: None})
    with pytest.raises(UserError, match=r"no generator checkpoint that was graded: .*grade_every"):
        loaded(tmp_path, "best")
