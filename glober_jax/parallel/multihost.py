"""The processes of a run: how they start, agree and end."""

import atexit
import contextlib
import importlib.util
import os
import signal
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import NoReturn, Self

import jax
import numpy as np
from jax.experimental import multihost_utils

from glober_jax.errors import UserError
from glober_jax.progress import say

# Addresses of a TPU slice's hosts, on the metadata server of Compute Engine.
_HOSTS_URL = "http://{server}/computeMetadata/v1/instance/attributes/worker-network-endpoints"
_METADATA_SECONDS = 5
# Without a heartbeat of one process for this long JAX ends all.
_HEARTBEAT_SECONDS = 60
_MESSAGE_BYTES = 512


def start_processes(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    timeout_seconds: float = 300,
) -> None:
    """Connects to the other processes of this run, if any; to be called before JAX is used.

    `coordinator` is HOST:PORT of process 0. Without the first three arguments there are as many
    processes as tasks of the SLURM step, or hosts of the TPU slice; elsewhere one.

    Raises:
      UserError: the arguments are incomplete or contradict each other, SLURM has several tasks but
        this process is none of them, libtpu is missing, or not all processes came in time.
    """
    if not (coordinator is None and num_processes is None and process_id is None):
        _check(coordinator, num_processes, process_id)
        if num_processes > 1:
            who = f"process {process_id} of {num_processes}, with the coordinator {coordinator}"
            # Every process keeps all devices of its machine.
            explicit = (coordinator, num_processes, process_id, None, "deactivate")
            _connect(who, timeout_seconds, *explicit)
    elif (tasks := slurm_tasks(os.environ)) > 1:
        _connect(f"task {os.environ['SLURM_PROCID']} of {tasks} of a SLURM step", timeout_seconds)
    elif (hosts := tpu_hosts(os.environ)) > 1:
        if importlib.util.find_spec("libtpu") is None:
            raise UserError("this machine has TPU chips, but not libtpu: pip install 'jax[tpu]'")
        _connect(f"one of the {hosts} hosts of a TPU slice", timeout_seconds)


@contextlib.contextmanager
def end_together() -> Iterator[None]:
    """On an error inside, ends this process at once, and thereby all.

    JAX ends the others when heartbeats of this one are missing. Errors other than `UserError` get a
    note, because a collective fails where another process is gone.
    """
    try:
        yield
    except BaseException as error:
        if jax.process_count() > 1 and not (isinstance(error, SystemExit) and not error.code):
            # Runs before JAX's own handler, which waits for the others.
            atexit.register(_leave)
            if not isinstance(error, UserError):
                error.add_note(
                    "if another process of this run failed or was killed, its own output says why; "
                    "run the same command again to go on"
                )
        raise


def first_message(mine: str | None) -> str | None:
    """The message of the first process that has one, cut to 512 bytes; None if none has.

    A collective: all processes must call it.
    """
    if jax.process_count() == 1:
        return mine
    row = np.zeros(_MESSAGE_BYTES, np.uint8)
    encoded = (mine or "").encode()[:_MESSAGE_BYTES]
    row[: len(encoded)] = list(encoded)
    rows = multihost_utils.process_allgather(row)
    messages = [bytes(row).rstrip(b"\0").decode(errors="ignore") for row in rows]
    return next((message for message in messages if message), None)


class Preemption:
    """Turns SIGTERM (preemption, a scheduler) into an exit with status 0.

    A context manager for the loop, which saves first; outside of it a single process exits at once.
    One SIGTERM to any of several processes makes all save the same step.
    """

    def __init__(self) -> None:
        self.requested = self._can_save = False
        self._steps = 0
        # For several processes JAX has a handler.
        if jax.process_count() == 1:
            signal.signal(signal.SIGTERM, self._handle)

    def __enter__(self) -> Self:
        self._can_save = True
        return self

    def __exit__(self, *exception: object) -> None:
        self._can_save = False
        if self.requested and exception[0] is None:
            # It came during the last step, and the state has been saved.
            self.exit("SIGTERM: the stage is finished and saved")

    def reached(self) -> bool:
        """Whether to save and exit now, alike on all processes; to be called before each step."""
        self._steps += 1
        return self.requested or multihost_utils.reached_preemption_sync_point(self._steps)

    def exit(self, reason: str) -> NoReturn:
        """Ends this process with status 0."""
        say(f"{reason}; run the same command again to go on")
        sys.exit(0)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        del signum, frame
        self.requested = True
        if not self._can_save:
            self.exit("SIGTERM: nothing to save")


def slurm_tasks(environment: Mapping[str, str]) -> int:
    """Tasks of this process's SLURM step, or 1; `UserError` if it is in a job but in no step."""
    tasks = int(environment.get("SLURM_NTASKS", "1"))
    if tasks > 1 and "SLURM_STEP_NODELIST" not in environment:
        raise UserError(
            f"SLURM gave this job {tasks} tasks, but this process is none of them: start it with "
            "srun, or pass --num_processes=1 --process_id=0 to let it run alone"
        )
    return tasks


def tpu_hosts(environment: Mapping[str, str]) -> int:
    """Hosts of the TPU slices of this machine, by Kubernetes' environment or Compute Engine's
    metadata server; 1 without TPUs.
    """
    if environment.get("JAX_PLATFORMS") == "cpu":
        return 1
    slices = int(environment.get("MEGASCALE_NUM_SLICES", "1"))
    if names := environment.get("TPU_WORKER_HOSTNAMES"):
        return slices * len(names.split(","))
    # JAX sets this itself when it is imported where there are no TPU chips.
    if "TPU_SKIP_MDS_QUERY" in environment:
        return 1
    server = environment.get("GCE_METADATA_IP", "metadata.google.internal")
    request = urllib.request.Request(
        _HOSTS_URL.format(server=server), headers={"Metadata-Flavor": "Google"}
    )
    try:
        # The server is on the machine itself, never behind a proxy.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(request, timeout=_METADATA_SECONDS) as response:
            return len(response.read().decode().split(","))
    except (urllib.error.URLError, TimeoutError):
        # Not a TPU VM, but a notebook's machine, for example: there are no other hosts.
        return 1


def _check(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    needed = {"--coordinator": coordinator} if num_processes != 1 else {}
    needed |= {"--num_processes": num_processes, "--process_id": process_id}
    if missing := [name for name, value in needed.items() if value is None]:
        raise UserError(
            "--coordinator=HOST:PORT, --num_processes=N and --process_id=I go together; "
            f"{' and '.join(missing)} is missing"
        )
    if num_processes < 1 or not 0 <= process_id < num_processes:
        raise UserError(
            f"--process_id={process_id} is none of --num_processes={num_processes}: ids go from 0 "
            "to N - 1"
        )
    host, _, port = (coordinator or "alone:1").rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(
            f"--coordinator={coordinator} is not HOST:PORT, such as 10.0.0.2:1234: the address of "
            "process 0 and a free port there"
        )


def _connect(who: str, timeout_seconds: float, *arguments: object) -> None:
    """`jax.distributed.initialize(*arguments)`; raises `UserError` if it takes too long.

    After its own timeout JAX aborts the process.
    """
    failures: list[Exception] = []

    def connect() -> None:
        try:
            jax.distributed.initialize(
                *arguments,
                initialization_timeout=int(timeout_seconds) + 3600,
                heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
            )
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(timeout_seconds)
    if thread.is_alive():
        raise UserError(
            f"this is {who}, and the others did not all come within {timeout_seconds:.0f} s: start "
            "the same command on all of them, and let them reach each other's ports"
        )
    if failures:
        raise UserError(f"this is {who}, and JAX cannot connect: {failures[0]}") from failures[0]


def _leave() -> None:
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(1)
