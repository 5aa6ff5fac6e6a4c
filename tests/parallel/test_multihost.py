"""Processes find each other, agree, and end together.

Run as a program, this file is one process of a run, and prints what it saw as JSON, or its error.
"""

import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from absl import flags
from jax.experimental import multihost_utils
from jax.sharding import PartitionSpec

from glober_jax import cli
from glober_jax.errors import UserError
from glober_jax.parallel import multihost, rules
from glober_jax.parallel.mesh import BATCH_AXES, MeshShape, make_mesh, put_batch
from glober_jax.parallel.multihost import Preemption, slurm_tasks, start_processes, tpu_hosts
from glober_jax.training.checkpoint import StageCheckpoints


@pytest.mark.parametrize("how", ["flags", "slurm"])
def test_two_processes_become_one_program(how: str) -> None:
    """Fails when the processes stay alone, only one learns what the other one says, or SIGTERM to
    one does not stop both at the same step.
    """
    port = _free_port()
    if how == "flags":
        processes = [_start({"arguments": [f"localhost:{port}", 2, i, 60.0]}) for i in (0, 1)]
    else:
        # JAX derives the port from the job's number.
        step = {"SLURM_JOB_ID": str(port), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
        processes = [
            _start({"arguments": []}, step | {"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)})
            for i in (0, 1)
        ]
    ends = [process.communicate(timeout=120) for process in processes]
    for process, (_, stderr) in zip(processes, ends, strict=True):
        assert process.returncode == 0, stderr
    # Gloo announces itself there too.
    seen = [json.loads(stdout.splitlines()[-1]) for stdout, _ in ends]
    assert seen[0].pop("stopped_at") == seen[1].pop("stopped_at") >= 3
    for index, of_one in enumerate(seen):
        # Rows of process 0 are 1 and 2, of process 1 they are 10 and 20.
        expected = {"processes": 2, "index": index, "devices": 2, "sum": 33, "heard": "from 1"}
        assert of_one == expected


@pytest.mark.parametrize("where", ["collective", "sleep"])
def test_the_end_of_one_is_the_end_of_all(where: str) -> None:
    """Fails when the other one waits for ever, or the first for the other one.

    In a collective of the CPU's a lost process shows at once; otherwise JAX misses its heartbeats.
    """
    address = f"localhost:{_free_port()}"
    calls = [{"arguments": [address, 2, i, 60.0], "fails": i == 1, "in": where} for i in (0, 1)]
    other, first = (_start(call) for call in calls)
    _, said = first.communicate(timeout=60)
    assert first.returncode == 1 and said.endswith("error: too many clouds\n"), said
    _, said = other.communicate(timeout=60)
    assert other.returncode in (1, -signal.SIGABRT), said
    if other.returncode == 1:
        assert "if another process of this run failed or was killed" in said


@pytest.mark.long
def test_one_process_sees_damage_and_both_go_on_alike(tmp_path: Path) -> None:
    """Fails when one restores step 4 and the other step 2, or one waits for ever for the other.

    Each has a view of the workdir of its own, as where one host's cache or disk is at fault.
    """
    address = f"localhost:{_free_port()}"
    calls = [{"arguments": [address, 2, i, 60.0], "folder": str(tmp_path)} for i in (0, 1)]
    processes = [_start(call) for call in calls]
    ended = [process.communicate(timeout=240) for process in processes]
    assert [json.loads(stdout.splitlines()[-1]) for stdout, _ in ended] == [2, 2], ended
    assert [stderr.count("warning: ") for _, stderr in ended] == [1, 0], ended
    assert (tmp_path / "view0" / "damaged" / "codec" / "4").is_dir()


def test_a_process_that_waits_in_vain_says_so() -> None:
    """Fails when it waits for ever, or JAX ends it with a stack of addresses."""
    process = _start({"arguments": [f"localhost:{_free_port()}", 2, 1, 1.0]})
    _, stderr = process.communicate(timeout=60)
    message = r"process 1 of 2, with the coordinator localhost:\d+, and the others did not .* 1 s"
    assert re.search(f"error: this is {message}", stderr)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("host:1234", 2, None), "--process_id is missing"),
        ((None, 2, 0), "--coordinator is missing"),
        (("host:1234", None, None), "--num_processes and --process_id is missing"),
        (("host:1234", 2, 2), "--process_id=2 is none of --num_processes=2"),
        (("host:1234", 0, 0), "--process_id=0 is none of --num_processes=0"),
        (("host", 2, 0), "--coordinator=host is not HOST:PORT"),
        (("host:http", 2, 0), "--coordinator=host:http is not HOST:PORT"),
    ],
)
def test_flags_that_contradict_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    """Fails when half an address book is taken for a whole one, or waited with."""
    with pytest.raises(UserError, match=message):
        start_processes(*arguments)


def test_one_process_is_alone_only_where_that_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when a laptop, or one task of an allocation, waits for others, or one process trains
    alone where eight were asked for.
    """
    start_processes()
    monkeypatch.setenv("SLURM_NTASKS", "8")
    start_processes(num_processes=1, process_id=0)
    assert jax.process_count() == 1
    with pytest.raises(UserError, match=r"8 tasks, .* start it with srun"):
        start_processes()
    monkeypatch.setenv("SLURM_STEP_NODELIST", "node[1-2]")
    assert slurm_tasks(os.environ) == 8


@pytest.fixture
def metadata() -> Iterator[dict[str, str]]:
    """Paths and contents of a metadata server like that of Compute Engine, at "address"."""
    contents: dict[str, str] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers["Metadata-Flavor"] == "Google" and self.path in contents
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(contents.get(self.path, "").encode())

        def log_message(self, *arguments: object) -> None:
            """Keeps the tests' output quiet."""

    with http.server.ThreadingHTTPServer(("localhost", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        contents["address"] = f"localhost:{server.server_port}"
        yield contents
        server.shutdown()


def test_hosts_of_a_tpu_slice_are_counted(metadata: dict[str, str]) -> None:
    """Fails when a pod's hosts train each for itself, or a single one waits for others."""
    compute_engine = {"GCE_METADATA_IP": metadata["address"], "http_proxy": "http://nowhere:1"}
    assert tpu_hosts(compute_engine) == 1, "a virtual machine without a slice"
    path = "/computeMetadata/v1/instance/attributes/worker-network-endpoints"
    metadata[path] = "10.0.0.2"
    assert tpu_hosts(compute_engine) == 1
    metadata[path] = "unknown:unknown:10.0.0.2,unknown:unknown:10.0.0.3"
    assert tpu_hosts(compute_engine) == 2
    assert tpu_hosts(compute_engine | {"JAX_PLATFORMS": "cpu"}) == 1
    # Where JAX found no TPU, nobody is asked.
    assert tpu_hosts(compute_engine | {"TPU_SKIP_MDS_QUERY": "1"}) == 1
    kubernetes = {"TPU_WORKER_HOSTNAMES": "a,b,c,d", "TPU_SKIP_MDS_QUERY": "true"}
    assert tpu_hosts(kubernetes) == 4
    assert tpu_hosts(kubernetes | {"MEGASCALE_NUM_SLICES": "2"}) == 8
    # Nobody answers there.
    assert tpu_hosts({"GCE_METADATA_IP": f"localhost:{_free_port()}"}) == 1


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def _start(call: dict[str, Any], environment: Mapping[str, str] | None = None) -> Any:
    root = Path(__file__).parents[2]
    kept = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    return subprocess.Popen(
        [sys.executable, __file__, f"--call={json.dumps(call)}"],
        env=kept | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root)} | dict(environment or {}),
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def see() -> dict[str, Any]:
    """What a process learns of the other one, and the step at which both stop."""
    index = jax.process_index()
    mesh = make_mesh(MeshShape())
    rows = np.array([1, 2]) * 10**index
    total = jax.shard_map(
        lambda rows: jax.lax.psum(rows.sum(), BATCH_AXES),
        mesh=mesh,
        in_specs=PartitionSpec(BATCH_AXES),
        out_specs=PartitionSpec(),
    )(put_batch({"rows": rows}, mesh)["rows"])
    heard = multihost.first_message("from 1" if index == 1 else None)
    preemption = Preemption()
    steps = 0
    while not preemption.reached():
        steps += 1
        if steps == 3 and index == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)
    counts = {"processes": jax.process_count(), "index": index, "devices": jax.device_count()}
    return counts | {"sum": int(total), "heard": heard, "stopped_at": steps}


def restore_damaged(folder: Path) -> int:
    """Which step a process restores where only process 1 finds the newest one damaged."""
    config, index = {"model": {}, "frame_size": 16}, jax.process_index()
    rules.MIN_SHARDED_SIZE = 512
    mesh = make_mesh(MeshShape(data=1, fsdp=2))
    values = {step: np.random.default_rng(step).standard_normal((64, 64)) for step in (2, 4)}
    values = {step: value.astype(np.float32) for step, value in values.items()}
    abstract = {"kernel": jax.ShapeDtypeStruct((64, 64), np.float32)}
    sharding = rules.tree_shardings(abstract, mesh)["kernel"]
    with StageCheckpoints(folder / "saved", "codec", config) as checkpoints:
        for step, value in values.items():
            placed = jax.make_array_from_callback(value.shape, sharding, value.__getitem__)
            checkpoints.save(step, {"kernel": placed})
    view = folder / f"view{index}"
    shutil.copytree(folder / "saved", view)
    if index == 1:
        for file in (view / "codec" / "4" / "state").rglob("d/*"):
            file.write_bytes(b"")
    with StageCheckpoints(view, "codec", config) as checkpoints:
        (shard,) = checkpoints.restore(abstract, mesh)["kernel"].addressable_shards
    (step,) = [s for s, value in values.items() if np.array_equal(shard.data, value[shard.index])]
    return step


def main(argv: list[str]) -> None:
    """One process: it fails, or waits for the other one to fail, or prints what it sees."""
    call = json.loads(flags.FLAGS.call)
    multihost._HEARTBEAT_SECONDS = 10
    start_processes(*call["arguments"])
    with multihost.end_together():
        if "fails" not in call:
            folder = call.get("folder")
            print(json.dumps(restore_damaged(Path(folder)) if folder else see()))
            return
        multihost_utils.sync_global_devices("begin")
        if call["fails"]:
            raise UserError("too many clouds")
        if call["in"] == "collective":
            multihost_utils.sync_global_devices("wait for ever")
        time.sleep(300)


if __name__ == "__main__":
    flags.DEFINE_string("call", "", "")
    cli.run(main)
