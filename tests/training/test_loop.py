"""The loop on one small vector: steps that are skipped, data that are left out, steps that hang."""

import gzip
import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from glober_jax.errors import UserError
from glober_jax.parallel.multihost import Preemption
from glober_jax.training.loop import LoopOptions, Preview, Stage, run_stage
from glober_jax.training.metric_writer import METRICS_FILE, MetricsWriter, read_metrics
from glober_jax.training.nonfinite_guard import SKIPPED_FILE
from glober_jax.training.state import TrainState, new_state
from tests.tiny import mesh_of

STEPS = 20
OPTIMIZER = optax.adamw(optax.linear_schedule(0.1, 0.01, STEPS))
CONFIG = {"model": {}, "frame_size": 16}


class Killed(BaseException):
    """Ends a run as SIGKILL would: nothing is saved on the way out."""


def create(constants: dict[str, Any], given: Any = None) -> TrainState:
    return new_state({"unet": {"w": jnp.arange(4.0)}}, OPTIMIZER, ("unet",), constants)


def program(state: TrainState, frozen: None, batch: Any) -> tuple[TrainState, dict[str, jax.Array]]:
    """A step that depends on its batch and, as noise does, on the state's step."""
    noise = jax.random.normal(jax.random.fold_in(jax.random.key(0), state.step), (4,))

    def loss_fn(params: Any) -> jax.Array:
        return jnp.square(params["unet"]["w"] - batch["x"] + 0.1 * noise).mean()

    loss, gradients = jax.value_and_grad(loss_fn)(state.params)
    return state.apply_if_finite(gradients, {"loss": loss}, OPTIMIZER, 0.9)


def batch_of(number: int, poisoned: set[int] | range) -> dict[str, np.ndarray]:
    rows = np.random.default_rng(number).standard_normal((2, 4)).astype(np.float32)
    rows[1, 2] = np.inf if number in poisoned else rows[1, 2]
    return {"x": rows}


@pytest.fixture
def train(tmp_path: Path) -> Iterator[Callable[..., TrainState]]:
    """Trains in `tmp_path`, going on from what is there; `before(number)` sees every batch first.

    Three skipped steps in a row are let go; every second step is saved.
    """
    handler = signal.getsignal(signal.SIGTERM)
    stop = Preemption()

    def run(
        poisoned: set[int] | range = range(0),
        before: Callable[..., None] | None = None,
        log_every: int = 1,
        profiled: range = range(0),
    ) -> TrainState:
        def batches(start: int) -> Iterator[dict[str, np.ndarray]]:
            for number in range(start, 1000):
                if before is not None:
                    before(number, stop)
                yield batch_of(number, poisoned)

        stage = Stage(
            name="autoencoder",
            total_steps=STEPS,
            create=create,
            measure=dict,
            constant_shapes={},
            programs=((0, program),),
            frozen=None,
            batches=batches,
            preview=lambda state: Preview({}, {}),
            videos=lambda number: [f"{number}a", f"{number}b"],
        )
        options = LoopOptions(log_every, 0, 2, keep_checkpoints=2, max_skipped=3, slow_step=10.0)
        stop.requested = False
        with MetricsWriter(tmp_path / "logs", enabled=True) as writer:
            return run_stage(stage, tmp_path, CONFIG, options, mesh_of(), writer, stop, profiled)

    yield run
    signal.signal(signal.SIGTERM, handler)


def expected(batches: list[int | None]) -> TrainState:
    """The state after updates on the batches of these numbers; None: a step without an update."""
    step = jax.jit(program)
    state = jax.jit(create)({})
    for number in batches:
        if number is None:
            state = state.replace(step=state.step + 1)
        else:
            state, metrics = step(state, None, batch_of(number, set()))
            assert not metrics["skipped"]
    return state


def assert_same(here: TrainState, there: TrainState) -> None:
    jax.tree.map(np.testing.assert_array_equal, here, there)


def logged(workdir: Path) -> dict[int, dict[str, Any]]:
    """The log by step, of which each must be there once."""
    records = read_metrics(workdir / "logs" / METRICS_FILE)
    by_step = {record["step"]: record for record in records}
    assert sorted(by_step) == [record["step"] for record in records] == list(range(1, STEPS + 1))
    return by_step


def reported(workdir: Path) -> list[dict[str, Any]]:
    return [*map(json.loads, (workdir / "logs" / SKIPPED_FILE).read_text().splitlines())]


def test_a_poisoned_step_is_as_if_absent(
    train: Callable[..., TrainState], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Fails when a skipped update moves anything, is not told, or is told with other videos."""
    absent = [None if number in (3, 5, 6) else number for number in range(STEPS)]
    assert_same(train(poisoned={3, 5, 6}), expected(absent))
    by_step = logged(tmp_path)
    assert "skipped_steps" not in by_step[3] and by_step[4]["loss"] is None
    assert [by_step[step]["skipped_steps"] for step in (4, 5, 6, 7, STEPS)] == [1, 1, 2, 3, 3]
    first, *others = reported(tmp_path)
    assert (first["stage"], first["step"], first["batch"]) == ("autoencoder", 4, 3)
    assert first["not_finite"] == {"loss": "inf", "grad_norm_unet": "inf"}
    assert first["videos"] == ["3a", "3b"] and first["values"]["loss"] is None
    assert [record["videos"] for record in others] == [["5a", "5b"], ["6a", "6b"]]
    said = capsys.readouterr().err
    assert "autoencoder step 4 skipped: grad_norm_unet inf, loss inf; videos 3a, 3b, see" in said


@pytest.mark.parametrize("killed_at", [None, 7, 10, 14])
def test_too_many_in_a_row_and_the_data_are_left_out(
    train: Callable[..., TrainState], tmp_path: Path, killed_at: int | None
) -> None:
    """Fails when the loop goes on from a wrong state, or on the same data; or a kill changes that.

    Batches 5 to 8 are poisoned, so it goes back to the checkpoint of step 4 and on with batch 9. It
    is killed while steps are skipped, before the next checkpoint is made, and after it.
    """
    alive = [killed_at]

    def kill_once(number: int, stop: Preemption) -> None:
        if number in alive:
            alive.clear()
            raise Killed

    if killed_at is not None:
        with pytest.raises(Killed):
            train(range(5, 9), kill_once)
    final = train(range(5, 9))
    assert_same(final, expected([*range(4), *range(9, 9 + STEPS - 4)]))
    assert logged(tmp_path)[STEPS]["skipped_steps"] == 4
    assert [record["batch"] for record in reported(tmp_path)] == [5, 6, 7, 8]


def test_without_any_checkpoint_it_begins_again(train: Callable[..., TrainState]) -> None:
    """Fails when a run that had no time to save is lost, or steps not logged are not seen."""
    assert_same(train(range(1, 5), log_every=50), expected(list(range(5, 5 + STEPS))))


def test_stopped_while_steps_are_skipped(train: Callable[..., TrainState], tmp_path: Path) -> None:
    """Fails when SIGTERM then loses steps, or makes the loop count from zero."""

    def terminate(number: int, stop: Preemption) -> None:
        stop.requested = number == 7

    with pytest.raises(SystemExit):
        train(range(5, 9), terminate)
    assert max(int(path.name) for path in (tmp_path / "autoencoder").iterdir()) == 8
    # Eight steps are done, three of which were skipped; the fourth is one too many.
    absent = [*range(5), None, None, None, *range(9, 9 + STEPS - 8)]
    assert_same(train(range(5, 9)), expected(absent))


def test_the_second_time_it_stops(train: Callable[..., TrainState], tmp_path: Path) -> None:
    """Fails when it tries for ever, or stops without saying where and what to do."""
    for _ in range(2):
        with pytest.raises(UserError) as error:
            train(range(5, 1000))
        assert (
            f"autoencoder diverged twice from its checkpoint of step 4 ({tmp_path}/autoencoder/4 "
            "is intact), on other batches the second time: 4 steps in a row up to step 8 were "
            "skipped, grad_norm_unet inf, loss inf; lower "
            "config.autoencoder.optimizer.learning_rate" in str(error.value)
        )
        assert [record["batch"] for record in reported(tmp_path)] == [*range(5, 13)]
    # What it says is so: with better data it goes on.
    assert_same(train(), expected(list(range(STEPS))))


def test_a_step_that_hangs_is_told(
    train: Callable[..., TrainState], capsys: pytest.CaptureFixture
) -> None:
    """Fails when nothing is said before it is over, or not what the host waits for, and where."""

    def hang_once(number: int, stop: Preemption) -> None:
        if number == 15:
            time.sleep(1.6)

    train(before=hang_once)
    said = capsys.readouterr().err
    step = "autoencoder step 15 on process 0 of 1"
    still = re.search(
        rf"{step} has taken 1\.\d s and is not done.*; now waiting for data, at$", said, re.M
    )
    done = re.search(rf"{step} took (1\.\d) s, the median is 0\.\d+ s: \1 s waiting for data", said)
    assert still.end() < said.index("time.sleep(1.6)") < done.start()
    assert said.count("on process 0") == 2


@pytest.mark.parametrize("profiled", [range(3, 5), range(18, 30)])
def test_steps_are_traced(
    train: Callable[..., TrainState], tmp_path: Path, profiled: range
) -> None:
    """Fails when no trace is where TensorBoard looks for it, it has other steps, it changes what is
    trained, or one that the end of the stage cuts short is lost."""
    trained = train(profiled=profiled)
    assert_same(trained, expected(list(range(STEPS))))
    (trace,) = (tmp_path / "logs").glob("plugins/profile/*/*.trace.json.gz")
    assert list(trace.parent.glob("*.xplane.pb"))
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    steps = {e["args"]["step_num"] for e in events if "step_num" in e.get("args", {})}
    assert steps == {str(step) for step in profiled if step < STEPS}
