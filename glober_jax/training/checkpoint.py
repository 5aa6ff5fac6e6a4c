"""Saves and restores the checkpoints of a stage, `WORKDIR/<stage>/<step>/` (checkpoint_io.py).

Orbax writes them in the background, under another name until they are complete. A damaged one is
moved to `WORKDIR/damaged/<stage>/<step>`.
"""

import contextlib
import json
from collections.abc import Mapping
from typing import Any, Literal

import flax.traverse_util
import jax
import orbax.checkpoint as ocp
from etils import epath
from jax.sharding import Mesh

from glober_jax.errors import UserError
from glober_jax.parallel.multihost import first_message
from glober_jax.progress import warn
from glober_jax.training.best_checkpoint import Grade, Grades, NewestAndBest
from glober_jax.training.checkpoint_io import (
    DamagedError,
    describe,
    read_arrays,
    read_meta,
    reason,
    silence_orbax,
    stored_steps,
)
from glober_jax.training.packaged_model import is_packaged, read_packaged

# Parts of a config that a stage's checkpoints depend on, except options of memory.
_CODEC = ("model.frame_codec", "codec.pretrained")
_AUTOENCODER = (
    "frame_size",
    "model.compat",
    "diffusion.prediction",
    *_CODEC,
    *(f"model.{name}" for name in ("video_encoder", "frame_features", "global_tokens", "unet")),
)
ARCHITECTURE = {
    "codec": (*_CODEC, "model.patch_discriminator"),
    "autoencoder": (*_AUTOENCODER, "model.discriminator"),
    "generator": (
        *_AUTOENCODER,
        "generator_diffusion.prediction",
        "model.condition",
        "model.generator",
    ),
}
# Of other stages.
_EVERYTHING = ("frame_size", "clip", "model")
_MEMORY_OPTIONS = ("remat", "chunk_frames")

Which = Literal["newest", "best"]


class StageCheckpoints:
    """The checkpoints of one stage; used as a context manager, closing waits for the last save.

    All processes of a run call the same methods in the same order.

    Attributes:
      loop_record: what the restored checkpoint holds for the loop; {} before.
    """

    def __init__(self, workdir: epath.PathLike, stage: str, config: dict[str, Any], keep: int = 2):
        """Opens `workdir/stage`; keeps the newest `keep` checkpoints, and the best graded.

        Raises `UserError` if it cannot be written, or holds a checkpoint of another architecture.
        """
        self._workdir, self._stage = epath.Path(workdir).resolve(), stage
        self._folder, self._config = self._workdir / stage, config
        # The step being saved, and why that failed if it did at once.
        self._saving: int | None = None
        self._failure: str | None = None
        self.loop_record: dict[str, int] = {}
        silence_orbax()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._grades = Grades(workdir, stage)
            self._policy = NewestAndBest(keep, self._grades)
            self._open()
        except OSError as error:
            raise UserError(
                f"cannot write checkpoints to {self._folder}: {error.strerror or error}; "
                "choose another --workdir"
            ) from error
        self._check_architecture()

    def __enter__(self) -> "StageCheckpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is None:
            self.wait()
            self._manager.close()
            return
        # The other processes may have ended: no collective is safe.
        try:
            self._manager.close()
        except Exception as error:
            warn(f"{self._stage} step {self._saving} could not be saved ({reason(error)})")

    @property
    def latest_step(self) -> int | None:
        """Step of the newest checkpoint, also while it is being saved."""
        return self._manager.latest_step()

    def save(
        self,
        step: int,
        state: Any,
        grade: Grade | None = None,
        loop_record: Mapping[str, int] | None = None,
    ) -> None:
        """Starts saving, unless the step is there; warns where the previous save failed."""
        if (failure := self._settle()) is not None:
            self._warn(f"{failure}; trying again with step {step}")
        if step == self.latest_step:
            return
        self._grades.put(step, grade)
        meta = describe(step, self._config, dict(loop_record or {}), state)
        parts = {"state": ocp.args.StandardSave(state), "meta": ocp.args.JsonSave(meta)}
        self._remove_partial()
        self._saving = step
        try:
            self._manager.save(step, args=ocp.args.Composite(**parts), force=True)
        except OSError as error:
            self._failure = reason(error)

    def wait(self) -> None:
        """Returns when everything is on disk; `UserError` where the last save failed."""
        if (failure := self._settle()) is not None:
            raise UserError(f"{failure}: mend that and run the same command again")

    def restore(self, abstract_state: Any, mesh: Mesh) -> Any:
        """The newest undamaged state, on any `mesh`; damaged newer ones are set aside.

        Raises:
          UserError: all are damaged, and left in place; or the newest has other arrays, or its
            storage does not answer.
        """
        if (failure := self._settle()) is not None:
            self._warn(failure)
        damaged: dict[int, str] = {}
        for step in reversed(stored_steps(self._folder)):
            checkpoint = self._folder / str(step)
            try:
                meta = read_meta(checkpoint)
                state = read_arrays(checkpoint, meta, abstract_state, mesh, whole=True)
            except DamagedError as error:
                damaged[step] = str(error)
                continue
            if damaged:
                self._set_aside(damaged, step)
            self.loop_record = meta.get("loop", {})
            return state
        listed = "; ".join(f"step {step}: {why}" for step, why in damaged.items())
        raise UserError(
            f"no checkpoint in {self._folder} can be restored ({listed}); nothing was changed: put "
            f"a copy of one there, or move that folder away to train {self._stage} anew"
        )

    def _open(self) -> None:
        # Lightweight: does not read checkpoints, which may be damaged.
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self._policy, lightweight_initialize=True
        )
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def _settle(self) -> str | None:
        """Waits for the save under way; returns a sentence where it failed on any process."""
        if self._saving is None:
            return None
        failure = self._failure
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            failure = failure or reason(error)
        step, self._saving, self._failure = self._saving, None, None
        if (failure := first_message(failure)) is None:
            return None
        # A manager that failed has lost its list of checkpoints to delete.
        with contextlib.suppress(Exception):
            self._manager.close()
        self._remove_partial()
        self._open()
        newest = self.latest_step
        intact = "there is none before it" if newest is None else f"that of step {newest} is intact"
        return f"{self._folder / str(step)} could not be saved ({failure}), {intact}"

    def _remove_partial(self) -> None:
        """Removes what failed or killed saves have left."""
        if jax.process_index() == 0:
            for partial in ocp.path.step.all_temporary_paths(self._folder):
                # A thread of a failed save may still write there; it is removed by a later call.
                with contextlib.suppress(OSError):
                    partial.get().rmtree()

    def _set_aside(self, damaged: dict[int, str], good_step: int) -> None:
        """Moves damaged checkpoints to `WORKDIR/damaged`."""
        for step, why in damaged.items():
            checkpoint, problem = self._folder / str(step), None
            place = self._workdir / "damaged" / self._stage / str(step)
            if jax.process_index() == 0:
                while place.exists():
                    place = place.with_name(f"{place.name}_again")
                try:
                    place.parent.mkdir(parents=True, exist_ok=True)
                    checkpoint.rename(place)
                except OSError as error:
                    problem = reason(error)
            if (problem := first_message(problem)) is not None:
                raise UserError(
                    f"{checkpoint} is damaged ({why}) and cannot be moved to {place} ({problem}); "
                    "move it away yourself, and run the same command again"
                )
            self._warn(
                f"{checkpoint} is damaged ({why}): it is now {place}, and {self._stage} goes on "
                f"from step {good_step}"
            )
        self._manager.close()
        self._open()

    def _warn(self, sentence: str) -> None:
        if jax.process_index() == 0:
            warn(sentence)

    def _check_architecture(self) -> None:
        for step in reversed(stored_steps(self._folder)):
            try:
                saved = read_meta(self._folder / str(step))["config"]
            except DamagedError:
                continue  # Reported when it is restored.
            there, here = (_architecture(self._stage, c) for c in (saved, self._config))
            # An option that only one of them has is at its default in the other.
            differing = [key for key in sorted(there.keys() & here) if there[key] != here[key]]
            if differing:
                listed = ", ".join(f"{k} is {there[k]} there, {here[k]} here" for k in differing)
                raise UserError(
                    f"{self._folder} holds a checkpoint of another architecture ({listed}); "
                    "use the config it was made with or another --workdir"
                )
            return


def _architecture(stage: str, config: dict[str, Any]) -> dict[str, Any]:
    """Options that the stage's checkpoints depend on, by full name."""
    parts = ARCHITECTURE.get(stage, _EVERYTHING)
    # Stored as JSON, which has no tuples.
    flat = flax.traverse_util.flatten_dict(json.loads(json.dumps(config)), sep=".")
    return {
        key: value
        for key, value in flat.items()
        if key.startswith(tuple(f"{part}." for part in parts)) or key in parts
        if key.split(".")[-1] not in _MEMORY_OPTIONS
    }


def newest_step(workdir: epath.PathLike, stage: str) -> int | None:
    """Step of a stage's newest checkpoint, or None; makes no folder."""
    return max(stored_steps(epath.Path(workdir).resolve() / stage), default=None)


def load_averaged(
    workdir: epath.PathLike,
    stage: str,
    abstract: dict[str, Any],
    mesh: Mesh,
    which: Which = "newest",
) -> tuple[int, dict[str, Any]]:
    """(step, values) of a stage's newest or best checkpoint; a packaged model has only one.

    `abstract`, such as {"ema": ..., "constants": ...} of shapes, are the parts to read onto `mesh`.

    Raises:
      UserError: there is no (graded) checkpoint, or it is damaged: no other is used instead.
    """
    if is_packaged(workdir):
        return read_packaged(workdir, stage, abstract, mesh)
    folder = epath.Path(workdir).resolve() / stage
    if not (steps := stored_steps(folder)):
        raise UserError(
            f"{workdir} holds no {stage} checkpoint; train one with "
            f"python -m glober_jax.main --config=FILE --workdir={workdir} --stage={stage}"
        )
    step = steps[-1] if which == "newest" else Grades(workdir, stage).best(steps)
    if step is None:
        raise UserError(
            f"{workdir} holds no {stage} checkpoint that was graded: train with "
            "--config.evaluation.grade_every=STEPS, or take the newest"
        )
    checkpoint = folder / str(step)
    try:
        return step, read_arrays(checkpoint, read_meta(checkpoint), abstract, mesh, whole=False)
    except DamagedError as error:
        raise UserError(
            f"{checkpoint} is damaged ({error}), and none is taken in its place: train on with "
            "python -m glober_jax.main, which sets it aside, or move that folder away to use the "
            "one before"
        ) from error
