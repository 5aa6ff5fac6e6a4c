"""Checkpoints that are damaged, cut short or not written; and which of them are kept."""

import json
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest

from glober_jax.errors import UserError
from glober_jax.training.best_checkpoint import Grade
from glober_jax.training.checkpoint import StageCheckpoints, Which, load_averaged, newest_step
from tests.full_disk import full_disk
from tests.tiny import mesh_of

CONFIG = {"model": {"width": 3}, "frame_size": 16}


def state_at(step: int) -> dict[str, Any]:
    """A small state of every kind of array, other numbers at every step; some compress well."""
    rng = np.random.default_rng(step)
    kernel = rng.standard_normal((3, 3, 8, 16)).astype(np.float32)
    return {
        "step": np.int32(step),
        "params": {"net": {"kernel": kernel, "bias": np.zeros(64, np.float32)}},
        "ema": {"net": rng.standard_normal((16, 32)).astype(ml_dtypes.bfloat16)},
    }


def save(workdir: Path, *steps: int) -> None:
    with StageCheckpoints(workdir, "codec", CONFIG) as checkpoints:
        for step in steps:
            checkpoints.save(step, jax.tree.map(jnp.asarray, state_at(step)))


def restored(workdir: Path) -> tuple[int, Any]:
    """The step that a run would go on from, and the arrays it gets."""
    with StageCheckpoints(workdir, "codec", CONFIG) as checkpoints:
        state = checkpoints.restore(jax.eval_shape(lambda: state_at(0)), mesh_of())
        return checkpoints.latest_step, jax.device_get(state)


def same_bits(a: Any, b: Any) -> bool:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in pairs)


def content(folder: Path) -> dict[Path, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {file.relative_to(folder): file.read_bytes() for file in files}


def largest_file(checkpoint: Path) -> Path:
    """That of the array data."""
    return max((checkpoint / "state").rglob("d/*"), key=lambda file: file.stat().st_size)


def flip_array_data(checkpoint: Path) -> None:
    file = largest_file(checkpoint)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 16
    file.write_bytes(data)


def change_meta(checkpoint: Path) -> None:
    file = checkpoint / "meta" / "metadata"
    file.write_text(file.read_text().replace('"step": 4', '"step": 5'))


DAMAGES: dict[str, Callable[[Path], None]] = {
    "array data flipped": flip_array_data,
    "truncated": lambda checkpoint: os.truncate(largest_file(checkpoint), 100),
    "file missing": lambda checkpoint: largest_file(checkpoint).unlink(),
    "meta unreadable": lambda checkpoint: os.truncate(checkpoint / "meta" / "metadata", 30),
    "meta changed": change_meta,
    "folder empty": lambda checkpoint: [shutil.rmtree(part) for part in checkpoint.glob("*/")],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_set_aside(
    damage: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fails when it is trained on, ends the run, is deleted, or not reported."""
    save(tmp_path, 2, 4)
    damage(tmp_path / "codec" / "4")
    before = content(tmp_path / "codec" / "4")
    step, state = restored(tmp_path)
    assert step == 2 and same_bits(state, state_at(2))
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: {tmp_path}/codec/4 is damaged (")
    assert warning.endswith(f"it is now {tmp_path}/damaged/codec/4, and codec goes on from step 2")
    assert content(tmp_path / "damaged" / "codec" / "4") == before
    # The step is trained anew; Orbax neither counts nor deletes what was set aside.
    save(tmp_path, 4, 6)
    step, state = restored(tmp_path)
    assert step == 6 and same_bits(state, state_at(6)) and not capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "codec").iterdir()) == ["4", "6"]
    assert content(tmp_path / "damaged" / "codec" / "4") == before


def test_with_no_good_one_left_nothing_is_touched(tmp_path: Path) -> None:
    """Fails when a run begins anew over what is left of an old one."""
    save(tmp_path, 2, 4)
    for step in (2, 4):
        flip_array_data(tmp_path / "codec" / str(step))
    before = content(tmp_path)
    with pytest.raises(UserError, match=r"step 4: .*; step 2: .*nothing was changed"):
        restored(tmp_path)
    assert content(tmp_path) == before


def test_readers_name_the_damage_and_take_no_other(tmp_path: Path) -> None:
    """Fails when samples silently come from an older checkpoint, or reading changes the workdir."""
    save(tmp_path, 2, 4)
    flip_array_data(tmp_path / "codec" / "4")
    before = content(tmp_path)
    abstract = jax.eval_shape(lambda: {"params": state_at(0)["params"]})
    with pytest.raises(UserError, match=r"codec/4 is damaged \(params/net/kernel is not what"):
        load_averaged(tmp_path, "codec", abstract, mesh_of())
    assert content(tmp_path) == before
    # What was asked for is whole.
    abstract = jax.eval_shape(lambda: {"ema": state_at(0)["ema"]})
    assert load_averaged(tmp_path, "codec", abstract, mesh_of())[0] == 4


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.long)])
def test_no_damage_is_restored_silently(count: int, tmp_path: Path) -> None:
    """Fails when any change to any file gives other arrays; DAMAGE_SEED repeats a failure.

    Of 300 such changes TensorStore alone lets 12 pass as wrong arrays.
    """
    seed = int(os.environ.get("DAMAGE_SEED", time.time_ns() % 10**6))
    print(f"DAMAGE_SEED={seed}")
    draw = random.Random(seed)
    save(tmp_path / "good", 4)
    refused = 0
    for number in range(count):
        workdir = tmp_path / "bad"
        shutil.copytree(tmp_path / "good", workdir)
        file = draw.choice(sorted(path for path in workdir.rglob("*") if path.is_file()))
        data = bytearray(file.read_bytes())
        for _ in range(draw.choice([1, 4])):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        file.write_bytes(data[: draw.choice([len(data), draw.randrange(len(data))])])
        try:
            assert same_bits(restored(workdir)[1], state_at(4)), (number, file)
        except UserError:
            refused += 1
        shutil.rmtree(workdir)
    assert 0 < refused < count


def test_another_optimizer_is_a_mistake_and_no_damage(tmp_path: Path) -> None:
    """Fails when a mistyped config moves good checkpoints out of the way."""
    save(tmp_path, 2, 4)
    before = content(tmp_path)
    other = jax.eval_shape(lambda: state_at(0) | {"momentum": np.zeros(3, np.float32)})
    with (
        StageCheckpoints(tmp_path, "codec", CONFIG) as checkpoints,
        pytest.raises(UserError, match=r"1 differ \(momentum is missing there, float32\[3\] here"),
    ):
        checkpoints.restore(other, mesh_of())
    assert content(tmp_path) == before


def test_a_signal_while_reading_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when SIGTERM in the middle of a restore, which Orbax makes an error of, sets an intact
    checkpoint aside.
    """
    save(tmp_path, 1)
    before = content(tmp_path)

    def terminated(*_: Any, **__: Any) -> None:
        try:
            raise SystemExit(0)
        except SystemExit as stop:
            raise RuntimeError("a task failed") from stop

    monkeypatch.setattr(ocp.PyTreeCheckpointHandler, "restore", terminated)
    with pytest.raises(SystemExit):
        restored(tmp_path)
    assert content(tmp_path) == before


def test_checkpoints_without_checksums_are_still_read(tmp_path: Path) -> None:
    save(tmp_path, 2)
    file = tmp_path / "codec" / "2" / "meta" / "metadata"
    file.write_text(json.dumps({"step": 2, "config": CONFIG}))
    step, state = restored(tmp_path)
    assert step == 2 and same_bits(state, state_at(2))


def test_what_a_kill_leaves_is_no_checkpoint(tmp_path: Path) -> None:
    """Fails when half a save is taken for a checkpoint, or stays for ever.

    Killed while saving step 6, and while deleting step 1, at the end of an earlier save.
    """
    save(tmp_path, 2, 4)
    folder = tmp_path / "codec"
    shutil.copytree(folder / "4", folder / "6.orbax-checkpoint-tmp")
    shutil.copytree(folder / "2", folder / "1")
    largest_file(folder / "1").unlink()
    before = content(tmp_path)
    assert newest_step(tmp_path, "codec") == 4
    abstract = jax.eval_shape(lambda: {"ema": state_at(0)["ema"]})
    assert load_averaged(tmp_path, "codec", abstract, mesh_of())[0] == 4
    assert restored(tmp_path)[0] == 4
    assert content(tmp_path) == before
    save(tmp_path, 5)
    assert sorted(path.name for path in folder.iterdir()) == ["4", "5"]


def test_a_full_disk_costs_one_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fails when it ends the run, harms older checkpoints, is not told, or leaves half a save."""
    states = {step: jax.tree.map(jnp.asarray, state_at(step)) for step in range(1, 6)}
    folder = tmp_path / "codec"
    with StageCheckpoints(tmp_path, "codec", CONFIG) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, states[step])
        checkpoints.wait()
        before = content(folder)
        capsys.readouterr()
        with full_disk():
            checkpoints.save(3, states[3])
            # Errors come up when the next save begins.
            checkpoints.save(4, states[4])
            with pytest.raises(UserError, match=r"codec/4 could not be saved \(File too large\)"):
                checkpoints.wait()
        warning = f"warning: {folder}/3 could not be saved (File too large), that of step 2 is "
        assert capsys.readouterr().err == f"{warning}intact; trying again with step 4\n"
        assert checkpoints.latest_step == 2
        # Threads of the failed save may still write what is removed before the next one.
        after = {file: data for file, data in content(folder).items() if ".orbax" not in str(file)}
        assert after == before
        checkpoints.save(5, states[5])
    assert sorted(path.name for path in folder.iterdir()) == ["2", "5"]
    step, state = restored(tmp_path)
    assert step == 5 and same_bits(state, state_at(5))


def test_a_last_save_that_fails_is_an_error(tmp_path: Path) -> None:
    """Fails when a stage that was not saved ends well."""
    state = jax.tree.map(jnp.asarray, state_at(1))
    with (
        full_disk(),
        pytest.raises(UserError, match=r"codec/1 could not be saved .*there is none before it"),
        StageCheckpoints(tmp_path, "codec", CONFIG) as checkpoints,
    ):
        checkpoints.save(1, state)


def save_graded(workdir: Path, values: dict[int, float | None], name: str = "score") -> None:
    """Checkpoints at these steps that hold their own step, graded by these values."""
    with StageCheckpoints(workdir, "generator", CONFIG, keep=2) as checkpoints:
        for step, value in values.items():
            grade = None if value is None else Grade(name, value)
            checkpoints.save(step, {"ema": {"step": jnp.float32(step)}}, grade)


def loaded_step(workdir: Path, which: Which) -> int:
    abstract = {"ema": {"step": jax.ShapeDtypeStruct((), jnp.float32)}}
    step, values = load_averaged(workdir, "generator", abstract, mesh_of(), which)
    assert values["ema"]["step"] == step
    return step


def test_best_and_newest_are_kept(tmp_path: Path) -> None:
    """Fails when the best is deleted, too many are kept, or the wrong one is taken.

    A run that goes on must know earlier grades.
    """
    save_graded(tmp_path, {1: 9.0, 2: None, 3: 1.0, 4: None})
    save_graded(tmp_path, {5: 5.0, 6: None, 7: None})
    kept = sorted(int(path.name) for path in (tmp_path / "generator").iterdir())
    assert kept == [3, 6, 7]
    assert (loaded_step(tmp_path, "best"), loaded_step(tmp_path, "newest")) == (3, 7)


def test_a_checkpoint_that_is_gone_is_not_the_best(tmp_path: Path) -> None:
    save_graded(tmp_path, {1: 1.0, 2: 2.0})
    (tmp_path / "generator" / "1").rename(tmp_path / "lost")
    save_graded(tmp_path, {3: 1.5})
    assert loaded_step(tmp_path, "best") == 3
    # All of them are trained anew, and one without a grade.
    (tmp_path / "generator").rename(tmp_path / "old")
    save_graded(tmp_path, {1: 3.0, 3: None})
    assert loaded_step(tmp_path, "best") == 1


def test_only_grades_of_one_name_compare(tmp_path: Path) -> None:
    """Fails when a resumed run with another grade_clips is never better, or always."""
    save_graded(tmp_path, {1: 1.0}, "fvd_of_256")
    save_graded(tmp_path, {2: 8.0, 3: 9.0}, "fvd_of_64")
    assert loaded_step(tmp_path, "best") == 2


def test_without_grades_there_is_no_best(tmp_path: Path) -> None:
    save_graded(tmp_path, {1: None})
    with pytest.raises(UserError, match=r"no generator checkpoint that was graded: .*grade_every"):
        loaded_step(tmp_path, "best")


def test_another_prediction_is_another_architecture(tmp_path: Path) -> None:
    """Fails when training goes on towards another output of the same shape; a noise schedule may
    be changed.
    """

    def config(prediction: str, beta_end: float) -> dict[str, Any]:
        return CONFIG | {"diffusion": {"prediction": prediction, "beta_end": beta_end}}

    for stage in ("autoencoder", "generator"):
        with StageCheckpoints(tmp_path, stage, config("eps", 0.012)) as checkpoints:
            checkpoints.save(1, {"step": jnp.int32(1)})
        with StageCheckpoints(tmp_path, stage, config("eps", 0.02)) as checkpoints:
            assert checkpoints.latest_step == 1
        with pytest.raises(UserError, match=r"\(diffusion.prediction is eps there, v here\)"):
            StageCheckpoints(tmp_path, stage, config("v", 0.012))
