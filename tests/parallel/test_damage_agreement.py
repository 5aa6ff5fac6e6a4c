"""Processes that see different damage go on from the same checkpoint.

Run as a program, this file is one process of two; the test reads what each printed.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from glober_jax.parallel import rules
from glober_jax.parallel.mesh import MeshShape, make_mesh
from glober_jax.parallel.rules import tree_shardings
from glober_jax.training.checkpoint import StageCheckpoints

CONFIG = {"model": {}, "frame_size": 16}
STEPS = (2, 4)


@pytest.mark.long
def test_one_process_sees_damage_and_both_go_on_alike(tmp_path: Path) -> None:
    """Fails when one restores step 4 and the other step 2, or one waits for ever for the other.

    Each has a view of the workdir of its own, as where one host's cache or disk is at fault.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    root = Path(__file__).parents[2]
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(tmp_path), str(port), str(index)],
            env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root)},
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    try:
        ended = [process.communicate(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(process.returncode == 0 for process in processes), ended
    assert [json.loads(stdout.splitlines()[-1]) for stdout, _ in ended] == [STEPS[0]] * 2
    assert [stderr.count("warning: ") for _, stderr in ended] == [1, 0], ended
    assert (tmp_path / "view0" / "damaged" / "codec" / "4").is_dir()


def value(step: int) -> dict[str, np.ndarray]:
    return {"kernel": np.random.default_rng(step).standard_normal((64, 64)).astype(np.float32)}


def main(folder: Path, port: str, index: int) -> None:
    jax.config.update("jax_num_cpu_devices", 2)
    jax.distributed.initialize(f"localhost:{port}", 2, index)
    rules.MIN_SHARDED_SIZE = 512
    mesh = make_mesh(MeshShape(data=1, fsdp=4))
    abstract = jax.eval_shape(lambda: value(0))
    shardings = tree_shardings(abstract, mesh)

    def placed(step: int) -> dict[str, jax.Array]:
        return jax.tree.map(
            lambda array, sharding: jax.make_array_from_callback(
                array.shape, sharding, array.__getitem__
            ),
            value(step),
            shardings,
        )

    with StageCheckpoints(folder / "saved", "codec", CONFIG) as checkpoints:
        for step in STEPS:
            checkpoints.save(step, placed(step))
    view = folder / f"view{index}"
    shutil.copytree(folder / "saved", view)
    if index == 1:
        for file in (view / "codec" / str(STEPS[-1]) / "state").rglob("d/*"):
            file.write_bytes(b"")
    with StageCheckpoints(view, "codec", CONFIG) as checkpoints:
        state = checkpoints.restore(abstract, mesh)
    restored = [
        step
        for step in STEPS
        if all(
            np.array_equal(shard.data, value(step)["kernel"][shard.index])
            for shard in state["kernel"].addressable_shards
        )
    ]
    print(json.dumps(*restored))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
