"""Checkpoints of a stage: state, data position and config, written atomically by Orbax.

`WORKDIR/<stage>/<step>/` holds `state` (arrays) and `meta` (JSON: step, config, and `loop`, what
the loop has to know to go on: which batch comes next, and how many steps were skipped).
"""

from collections.abc import Mapping
from typing import Any, Literal

import jax
import orbax.checkpoint as ocp
from etils import epath
from jax.sharding import Mesh

from glober_jax.errors import UserError
from glober_jax.parallel.rules import tree_shardings
from glober_jax.training.grades import Grade, Grades, NewestAndBest

# Parts of a config that fix the shapes of what a checkpoint holds; of these, options that only
# trade time for memory may differ.
ARCHITECTURE = ("model", "frame_size")
_MEMORY_OPTIONS = ("remat", "chunk_frames")


Which = Literal["newest", "best"]


class StageCheckpoints:
    """The checkpoints of one stage; used as a context manager, closing waits for the last save."""

    def __init__(self, workdir: epath.PathLike, stage: str, config: dict[str, Any], keep: int = 2):
        """Opens `workdir/stage`, made when missing; keeps the newest `keep`, and the best graded.

        Raises:
          UserError: the folder cannot be written, or it holds a checkpoint of another
            architecture than `config` describes.
        """
        self._folder = epath.Path(workdir).resolve() / stage
        self._config = config
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._grades = Grades(workdir, stage)
            policy = NewestAndBest(keep, self._grades)
            options = ocp.CheckpointManagerOptions(preservation_policy=policy)
            self._manager = ocp.CheckpointManager(self._folder, options=options)
        except OSError as error:
            raise UserError(
                f"cannot write checkpoints to {self._folder}: {error.strerror or error}; "
                "choose another --workdir"
            ) from error
        if self.latest_step is not None:
            self._check_architecture()

    def __enter__(self) -> "StageCheckpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        self._manager.close()

    @property
    def latest_step(self) -> int | None:
        """Step of the newest complete checkpoint."""
        return self._manager.latest_step()

    def save(
        self,
        step: int,
        state: Any,
        grade: Grade | None = None,
        loop_record: Mapping[str, int] | None = None,
    ) -> None:
        """Starts saving; a step that is already there is left as it is."""
        if step == self.latest_step:
            return
        if grade is not None:
            self._grades.add(step, grade)
        meta = {"step": step, "config": self._config, "loop": dict(loop_record or {})}
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta)
            ),
            force=True,
        )

    def loop_record(self) -> dict[str, int]:
        """What was kept with the newest checkpoint for the loop; {} where there is nothing."""
        return {} if self.latest_step is None else self._meta().get("loop", {})

    def wait(self) -> None:
        """Returns when everything saved so far is on disk."""
        self._manager.wait_until_finished()

    def restore(self, abstract_state: Any, mesh: Mesh) -> Any:
        """The newest state, laid out on `mesh`, whatever mesh it was saved from."""
        target = jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            abstract_state,
            tree_shardings(abstract_state, mesh),
        )
        restored = self._manager.restore(
            self.latest_step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target))
        )
        return restored["state"]

    def _meta(self) -> dict[str, Any]:
        args = ocp.args.Composite(meta=ocp.args.JsonRestore())
        return self._manager.restore(self.latest_step, args=args)["meta"]

    def _check_architecture(self) -> None:
        saved = self._meta()["config"]
        there, here = (_flatten({k: c[k] for k in ARCHITECTURE}) for c in (saved, self._config))
        # An option that one of the two configs does not know yet had its default.
        differing = [
            key
            for key in sorted(there.keys() & here)
            if there[key] != here[key] and key.split(".")[-1] not in _MEMORY_OPTIONS
        ]
        if differing:
            listed = ", ".join(f"{k} is {there[k]} there, {here[k]} here" for k in differing)
            raise UserError(
                f"{self._folder} holds a checkpoint of another architecture ({listed}); "
                "use the config it was made with or another --workdir"
            )


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        # JSON has no tuples: compare sequences as lists.
        return {prefix: list(tree) if isinstance(tree, tuple) else tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}.{key}" if prefix else key)
    return flat


def newest_step(workdir: epath.PathLike, stage: str) -> int | None:
    """Step of a stage's newest checkpoint, None where it has none; makes no folder."""
    folder = epath.Path(workdir).resolve() / stage
    if not folder.exists():
        return None
    with ocp.CheckpointManager(folder) as manager:
        return manager.latest_step()


def load_averaged(
    workdir: epath.PathLike,
    stage: str,
    abstract: dict[str, Any],
    mesh: Mesh,
    which: Which = "newest",
) -> tuple[int, dict[str, Any]]:
    """(step, values) of a stage's newest or best checkpoint: only the parts named in `abstract`.

    `abstract` is {"ema": ..., "constants": ...} of shapes; values lie on `mesh`. Raises
    `UserError` where the stage has no checkpoint yet, or none that was graded.
    """
    folder = epath.Path(workdir).resolve() / stage
    if not folder.exists():
        raise UserError(_nothing_trained(workdir, stage))
    with ocp.CheckpointManager(folder) as manager:
        if manager.latest_step() is None:
            raise UserError(_nothing_trained(workdir, stage))
        best = Grades(workdir, stage).best(manager.all_steps())
        step = manager.latest_step() if which == "newest" else best
        if step is None:
            raise UserError(
                f"{workdir} holds no {stage} checkpoint that was graded: train with "
                "--config.evaluation.grade_every=STEPS, or take the newest"
            )
        restore_args = jax.tree.map(
            lambda leaf, sharding: ocp.ArrayRestoreArgs(
                sharding=sharding, global_shape=leaf.shape, dtype=leaf.dtype
            ),
            abstract,
            tree_shardings(abstract, mesh),
        )
        args = ocp.args.PyTreeRestore(
            item=abstract, restore_args=restore_args, partial_restore=True
        )
        return step, manager.restore(step, args=ocp.args.Composite(state=args))["state"]


def _nothing_trained(workdir: epath.PathLike, stage: str) -> str:
    return (
        f"{workdir} holds no {stage} checkpoint; train one with "
        f"python -m glober_jax.main --config=FILE --workdir={workdir} --stage={stage}"
    )
