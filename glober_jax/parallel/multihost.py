"""Makes the processes of one run, on one machine or many, one JAX program.

Every process runs the same command. Here they find each other; from then on `jax.devices()` are
the devices of all, and a mesh spans them. A single process needs none of this.
"""

import importlib.util
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping

import jax

from glober_jax.errors import UserError

# What the metadata server of Compute Engine tells the hosts of a TPU slice: their addresses.
_HOSTS_URL = "http://{server}/computeMetadata/v1/instance/attributes/worker-network-endpoints"
_METADATA_SECONDS = 5


def start_processes(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    timeout_seconds: float = 300,
) -> None:
    """Joins the other processes of this run, if there are any; before JAX is used otherwise.

    Without arguments there are as many as the SLURM step has tasks, or the TPU slice hosts;
    elsewhere there is one, and nothing is done.

    Args:
      coordinator: HOST:PORT where process 0 listens and the others find it.
      num_processes: how many there are.
      process_id: which of them this is, from 0 on.
      timeout_seconds: how long to wait for the others.

    Raises:
      UserError: the arguments are incomplete or contradict each other, SLURM has several tasks but
        this process is none of them, libtpu is missing, or not all processes came in time.
    """
    if not (coordinator is None and num_processes is None and process_id is None):
        _check(coordinator, num_processes, process_id)
        if num_processes > 1:
            where = f"process {process_id} of {num_processes}, with the coordinator {coordinator}"
            # Every process keeps all devices of its machine.
            explicit = (coordinator, num_processes, process_id, None, "deactivate")
            _connect(where, timeout_seconds, *explicit)
    elif (tasks := slurm_tasks(os.environ)) > 1:
        _connect(f"task {os.environ['SLURM_PROCID']} of {tasks} of a SLURM step", timeout_seconds)
    elif (hosts := tpu_hosts(os.environ)) > 1:
        if importlib.util.find_spec("libtpu") is None:
            raise UserError("this machine has TPU chips, but not libtpu: pip install 'jax[tpu]'")
        _connect(f"one of the {hosts} hosts of a TPU slice", timeout_seconds)


def start_alone(command: str) -> None:
    """Raises `UserError` where SLURM or a TPU slice would start several processes of a command.

    They would write the same files.
    """
    if (count := max(slurm_tasks(os.environ), tpu_hosts(os.environ))) > 1:
        raise UserError(
            f"{command} works in one process, but here are {count}: start it once, with "
            "srun --ntasks=1, or on one host of a TPU slice with JAX_PLATFORMS=cpu"
        )


def slurm_tasks(environment: Mapping[str, str]) -> int:
    """Tasks of the SLURM step that this process belongs to; 1 outside of SLURM.

    Raises:
      UserError: SLURM has several tasks, but `srun` did not start this process.
    """
    tasks = int(environment.get("SLURM_NTASKS", "1"))
    if tasks > 1 and "SLURM_STEP_NODELIST" not in environment:
        raise UserError(
            f"SLURM gave this job {tasks} tasks, but this process is none of them: start it with "
            "srun, or pass --num_processes=1 --process_id=0 to let it run alone"
        )
    return tasks


def tpu_hosts(environment: Mapping[str, str]) -> int:
    """Hosts of the TPU slice (or slices) that this machine belongs to; 1 where it has no TPU.

    Kubernetes tells them in the environment, Compute Engine by its metadata server.
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
        # TPU chips of a machine that is no TPU VM, such as a notebook's: it has no other hosts.
        return 1


def _check(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Raises `UserError` unless the three make sense together."""
    # One process needs nobody to coordinate.
    needed = {"--num_processes": num_processes, "--process_id": process_id}
    if num_processes != 1:
        needed = {"--coordinator": coordinator} | needed
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
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(
            f"--coordinator={coordinator} is not HOST:PORT, such as 10.0.0.2:1234: the address of "
            "process 0 and a free port there"
        )


def _connect(who: str, timeout_seconds: float, *arguments: object) -> None:
    """`jax.distributed.initialize(*arguments)`, but with an error where it never returns.

    When its own timeout passes it ends the process from C++, with a stack of addresses.
    """
    failures: list[Exception] = []

    def connect() -> None:
        try:
            jax.distributed.initialize(
                *arguments, initialization_timeout=int(timeout_seconds) + 3600
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
