"""Compares checkpoints, saved on whatever mesh."""

from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp


def assert_same_bits(folder: Path, reference: Path) -> None:
    """Fails unless two checkpoints hold the same arrays."""
    here, there = _saved_arrays(folder), _saved_arrays(reference)
    assert here.keys() == there.keys() and len(here) > 10
    for part in ("params", "ema", "opt_state"):
        assert any(f"'{part}'" in name for name in here), part
    differing = [name for name in there if _bits(here[name]) != _bits(there[name])]
    assert not differing, f"{folder}: {len(differing)} of {len(there)}: {differing[:5]}"


def _saved_arrays(folder: Path) -> dict[str, np.ndarray]:
    """All arrays of a checkpoint by path."""
    with ocp.PyTreeCheckpointer() as checkpointer:
        tree = checkpointer.metadata(folder / "state").item_metadata.tree
        numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        state = checkpointer.restore(folder / "state", restore_args=numpy)
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def _bits(array: np.ndarray) -> tuple[np.dtype, tuple[int, ...], bytes]:
    return array.dtype, array.shape, array.tobytes()
