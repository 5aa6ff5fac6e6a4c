"""Launch scripts, with programs that only write down what they were called with.

`--dry-run` has to print what is run: its output, run as a script, calls the same programs with the
same arguments as the script does without it.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ODD = ("--config.data.dir=gs://bucket/my data", "--config.name=it's $HOME; `ls`", "--config.x=")
TPU = ("--name=sky", "--zone=us-west4-a", "--project=mine", "--accelerator=v5litepod-256")
TRAINING = ("--config=configs/skytimelapse.py", "--workdir=gs://bucket/sky")
WHERE = ["--zone=us-west4-a", "--project=mine"]

RECORDER = """#!{python}
import json, os, sys
with open({calls!r}, "a") as file:
    file.write(json.dumps([{name!r}, *sys.argv[1:]]) + "\\n")
if "describe" in sys.argv:
    print(os.environ.get("STATE", "ACTIVE"))
"""


class Machine:
    """Runs scripts where the programs of the cloud are recorders, or are not installed at all."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._calls = folder, folder / "calls"
        self.programs = folder / "programs"
        self.programs.mkdir()
        for name in ("bash", "dirname", "basename", "sed", "tar", "gzip", "cp", "rm", "mkdir"):
            (self.programs / name).symlink_to(shutil.which(name))
        self.environment = {"PATH": str(self.programs), "TMPDIR": str(folder)}

    def install(self, *names: str) -> None:
        """Programs by these names that note their arguments."""
        for name in names:
            (self.programs / name).unlink(missing_ok=True)
            text = RECORDER.format(python=sys.executable, calls=str(self._calls), name=name)
            (self.programs / name).write_text(text)
            (self.programs / name).chmod(0o755)

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A script of launch/, started from elsewhere."""
        return self._run([str(ROOT / "launch" / script), *arguments], self.folder)

    def calls_of(self, script: str, *arguments: str) -> list[list[str]]:
        """What a script calls recorders with."""
        done = self.run(script, *arguments)
        assert done.returncode == 0, done.stderr
        return self._take_calls()

    def calls_of_dry_run(self, script: str, *arguments: str) -> list[list[str]]:
        """The same, of what --dry-run prints."""
        (self.folder / "again.sh").write_text(self.dry_run(script, *arguments))
        done = self._run(["bash", str(self.folder / "again.sh")], ROOT)
        assert done.returncode == 0, done.stderr
        return self._take_calls()

    def dry_run(self, script: str, *arguments: str) -> str:
        """What --dry-run prints, which nothing was called for."""
        action = arguments[: arguments[0][0] != "-"]
        done = self.run(script, *action, "--dry-run", *arguments[len(action) :])
        assert done.returncode == 0, done.stderr
        assert not self._calls.exists() and not done.stderr
        return done.stdout

    def _run(self, command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=cwd, env=self.environment, capture_output=True, text=True, timeout=60
        )

    def _take_calls(self) -> list[list[str]]:
        calls = [json.loads(line) for line in self._calls.read_text().splitlines()]
        self._calls.unlink()
        return calls


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        *[
            ("tpu_pod.sh", (action, *TPU))
            for action in ("create", "wait", "logs", "stop", "delete")
        ],
        ("tpu_pod.sh", ("run", *TPU, *TRAINING, "--", *ODD)),
        ("tpu_vm.sh", ("create", *TPU[:3], "--accelerator=v6e-8", "--spot=yes")),
        ("tpu_vm.sh", ("run", *TPU, *TRAINING, "--", *ODD)),
        ("tpu_vm.sh", ("delete", *TPU)),
        ("gke.sh", ("create", *TPU, "--cluster=c", *TRAINING, "--", *ODD)),
        ("gke.sh", ("list", *TPU, "--cluster=c")),
        ("gke.sh", ("delete", *TPU, "--cluster=c")),
    ],
)
def test_a_dry_run_prints_what_is_run(
    machine: Machine, script: str, arguments: tuple[str, ...]
) -> None:
    """Fails when the two part ways, or an odd word is not quoted."""
    machine.dry_run(script, *arguments)
    machine.install("gcloud", "xpk", "tar", "cp")
    called = machine.calls_of(script, *arguments)
    assert called
    assert machine.calls_of_dry_run(script, *arguments) == called


def test_a_pod_is_asked_for_waited_for_and_deleted(machine: Machine) -> None:
    """Fails when a flag of gcloud changes, the slice is not the queued resource's, or stays."""
    machine.install("gcloud")
    queued = ["gcloud", "compute", "tpus", "queued-resources"]
    assert machine.calls_of("tpu_pod.sh", "create", *TPU, "--spot=yes") == [
        [*queued, "create", "sky", "--node-id=sky", *WHERE, "--accelerator-type=v5litepod-256",
         "--runtime-version=v2-alpha-tpuv5-lite", "--spot"],
        [*queued, "describe", "sky", *WHERE, "--format=value(state.state)"],
    ]  # fmt: skip
    assert machine.calls_of("tpu_pod.sh", "delete", *TPU[:3]) == [
        [*queued, "delete", "sky", *WHERE, "--force", "--quiet"]
    ]


def test_a_pod_that_will_not_come_is_not_waited_for(machine: Machine) -> None:
    """Fails when the script waits for a request that was refused, or for gcloud's errors."""
    machine.install("gcloud")
    machine.environment["STATE"] = "FAILED"
    done = machine.run("tpu_pod.sh", "create", *TPU)
    assert done.returncode == 1
    assert "error: the queued resource sky is FAILED; delete it: launch/tpu_pod" in done.stderr
    machine.environment["STATE"] = ""
    assert "error: gcloud told no state of sky" in machine.run("tpu_pod.sh", "create", *TPU).stderr


def test_a_host_has_the_software_of_its_generation(machine: Machine) -> None:
    """Fails when a generation gets the software of another."""
    for accelerator, version in (
        ("v3-8", "tpu-ubuntu2204-base"),
        ("v4-8", "tpu-ubuntu2204-base"),
        ("v5litepod-8", "v2-alpha-tpuv5-lite"),
        ("v5p-8", "v2-alpha-tpuv5"),
        ("v6e-1", "v2-alpha-tpuv6e"),
    ):
        printed = machine.dry_run("tpu_vm.sh", "create", *TPU[:3], f"--accelerator={accelerator}")
        assert printed == (
            f"gcloud compute tpus tpu-vm create sky --zone=us-west4-a --project=mine "
            f"--accelerator-type={accelerator} --version={version}\n"
        )


def test_workers_train_in_the_background_until_stopped(machine: Machine, tmp_path: Path) -> None:
    """Fails when the flags arrive changed, a second start goes through, SIGTERM does not arrive, or
    what `pip install --editable .` needs is not copied.

    What the workers are told is run here, in a home directory with a stand-in for the code.
    """
    machine.install("gcloud")
    run = machine.calls_of("tpu_pod.sh", "run", *TPU, *TRAINING, "--", *ODD)
    (stop,) = machine.calls_of("tpu_pod.sh", "stop", *TPU)
    with tarfile.open(tmp_path / "glober_jax.tgz") as copied:
        assert {"pyproject.toml", "LICENSE", "requirements.txt"} < set(copied.getnames())
    home = tmp_path / "home"
    (home / "glober_jax" / "launch").mkdir(parents=True)
    (home / "glober_jax" / "launch" / "train.sh").write_text(
        "printf '%s\\n' \"$@\"; trap 'echo saved; exit' TERM; for i in {1..300}; do sleep 0.1; done"
    )

    def on_worker(call: list[str]) -> subprocess.CompletedProcess[str]:
        command = call[-1].removeprefix("--command=")
        return subprocess.run(["bash", "-c", command], cwd=home, capture_output=True, text=True)

    assert "--worker=all" in run[-2] and "--worker=0" in run[-1]
    assert on_worker(run[-2]).returncode == 0
    log = home / "glober_jax" / "train.log"
    expected = ["--accelerator=tpu", *TRAINING, "--", *ODD]
    _wait_for(lambda: log.read_text().splitlines() == expected)
    assert on_worker(run[-2]).stderr == "already training\n"
    assert on_worker(stop).returncode == 0
    _wait_for(lambda: log.read_text().splitlines() == [*expected, "saved"])
    # It follows from the beginning, and ends with the training.
    assert on_worker(run[-1]).stdout == log.read_text()


def test_training_here_takes_the_place_of_the_script(machine: Machine) -> None:
    """Fails when pass-through flags are lost, or another part of JAX is installed."""
    arguments = ("--config=configs/ucf101.py:x", "--workdir=runs/a b", "--", "--config.seed=1")
    assert machine.dry_run("train.sh", "--accelerator=gpu", *arguments).splitlines() == [
        "python3 -m venv --clear .venv",
        ".venv/bin/python -m pip install --quiet --disable-pip-version-check "
        "-r requirements.txt -r requirements-eval.txt -r requirements-gpu.txt",
        ".venv/bin/python -m glober_jax.main --config=configs/ucf101.py:x "
        "'--workdir=runs/a b' --config.seed=1",
    ]


def test_ablations_need_nothing_but_their_flags(machine: Machine) -> None:
    """Fails when the data are of another size than the rows, or flags are lost or empty."""
    flags = ("--accelerator=gpu", "--size=64", "--rows=ours,v", "--", "--seeds=1")
    data, compared = machine.dry_run("ablations.sh", *flags).splitlines()[2:]
    assert data == (
        ".venv/bin/python -m glober_jax.prepare synthetic_sky --output=data/synthetic_sky_64 "
        "--size=64 --num_videos=768 --num_test_videos=64 --num_frames=16"
    )
    assert compared == (
        "env CUDA_VISIBLE_DEVICES=0 .venv/bin/python -m glober_jax.ablate --size=64 "
        "--output=runs/ablations_64 --results=docs/results_64.md --rows=ours,v --seeds=1"
    )
    assert machine.dry_run("ablations.sh", "--accelerator=cpu").splitlines()[-1] == (
        ".venv/bin/python -m glober_jax.ablate --size=32 --output=runs/ablations_32 "
        "--results=docs/results.md"
    )


def test_a_gpu_is_checked_from_nothing(machine: Machine) -> None:
    """Fails when a part is left out, runs on the CPU where a GPU is asked for, or a figure's file
    is not where check.json takes it from."""
    machine.environment["BATCH"] = "2"
    install, *parts = machine.dry_run("gpu_check.sh", "/tmp/a b").splitlines()[1:]
    assert install.endswith("-r requirements.txt -r requirements-gpu.txt")
    commands = [shlex.split(part) for part in parts if "-m" in part.split()]
    assert all(command[:2] == ["env", "JAX_PLATFORMS=cuda"] for command in commands)
    parity, step, sampling, skies, training = (command[4:] for command in commands)
    for name, command in (("parity", parity), ("step", step), ("sampling", sampling)):
        assert command[:2] == ["glober_jax.benchmark", name]
        assert command[2:4] == [TRAINING[0], "--config.mesh.fsdp=1"]
        assert f"--output=/tmp/a b/{name}.json" in command
    assert "--config.generator.batch_size=8" in step
    assert f"--config.data.dir={skies[2].removeprefix('--output=')}" in training
    assert "--workdir=/tmp/a b/quickstart" in training
    tiny = machine.dry_run("gpu_check.sh", "--tiny")
    assert "JAX_PLATFORMS=cpu" in tiny and "gpu.txt" not in tiny and "skytimelapse" not in tiny


def test_slurm_starts_a_process_for_each_gpu(machine: Machine) -> None:
    """Fails when processes and GPUs differ, or the flags need quoting twice and get it once."""
    flags = ("--nodes=2", "--gpus=8", *TRAINING)
    printed = machine.dry_run("slurm.sh", "--name=my sky", *flags, "--", *ODD)
    machine.install("sbatch", "srun")
    (machine.folder / "submit.sh").write_text(printed.splitlines()[-1])
    subprocess.run(["bash", machine.folder / "submit.sh"], env=machine.environment, check=True)
    ((_, *submitted),) = machine._take_calls()
    assert {"--job-name=my sky", "--nodes=2", "--ntasks-per-node=8", "--gpus-per-node=8",
            "--signal=TERM@120", "--requeue"} < set(submitted)  # fmt: skip
    subprocess.run(
        ["bash", "-c", submitted[-1].removeprefix("--wrap=")], env=machine.environment, check=True
    )
    ((_, *step),) = machine._take_calls()
    program = [".venv/bin/python", "-m", "glober_jax.main"]
    assert step == ["--kill-on-bad-exit=1", *program, *TRAINING, *ODD]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("tpu_pod.sh", "create", "--name=sky"), "--zone is missing; the head of launch/tpu_pod"),
        (("tpu_pod.sh", "create", *TPU[:3], "--accelerator=v9-8"), "v9-8 is unknown"),
        (("tpu_pod.sh", "create", *TPU[:3], "--accelerator=v4"), "as in v5litepod-16"),
        (("tpu_vm.sh", "create", *TPU), "v5litepod-256 has several hosts: use launch/tpu_pod.sh"),
        (
            ("tpu_pod.sh", "run", *TPU, TRAINING[0], "--workdir=runs/sky"),
            "--workdir=runs/sky is on one host",
        ),
        (
            ("gke.sh", "create", *TPU, "--cluster=c", "--config=/x.py", TRAINING[1]),
            "--config=/x.py is no file in configs/",
        ),
        (("tpu_vm.sh", "logs", "--zonne=a"), "has no flag --zonne, only --dry-run and"),
        (("gke.sh", "list", "--zone", "a"), "'--zone' is not understood: write --flag=VALUE"),
        (("train.sh", "--accelerator=abacus", *TRAINING), "accelerator 'abacus' is unknown"),
        (
            ("tpu_vm.sh", "run", *TPU, "--config=/x.py", TRAINING[1]),
            "--config=/x.py is no file in configs/",
        ),
        (("slurm.sh", "--name=a", "--nodes=1", "--gpus=0", *TRAINING), "--nodes=1 and --gpus=0"),
        (("sky64.sh", "--help"), "'--help' is not understood; the head of "),
        (("ablations.sh", "--size=48"), "--size=48 is not possible; it is 32 or 64"),
    ],
)
def test_mistakes_end_in_one_sentence(
    machine: Machine, command: tuple[str, ...], message: str
) -> None:
    """Fails when a mistake goes through to the cloud, or is told by a shell's own message."""
    machine.install("gcloud", "xpk", "sbatch")
    done = machine.run(*command)
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert message in done.stderr


@pytest.mark.parametrize(
    ("script", "program"), [("tpu_pod.sh", "gcloud"), ("tpu_vm.sh", "gcloud"), ("gke.sh", "xpk")]
)
def test_missing_programs_and_actions_are_named(
    machine: Machine, script: str, program: str
) -> None:
    """Fails when the shell says "command not found", or no action is answered with none."""
    done = machine.run(script, "delete", *TPU[:3])
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {program} is not installed; ")
    machine.install(program)
    done = machine.run(script)
    assert done.returncode == 2 and f"  launch/{script} create --name=N" in done.stderr


_SHELLCHECK = shutil.which(
    "shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
)


@pytest.mark.skipif(_SHELLCHECK is None, reason="shellcheck is not installed")
def test_scripts_pass_shellcheck() -> None:
    """Fails when a script, or one that it sources, has what shellcheck warns of."""
    scripts = [path for path in ROOT.glob("launch/*.sh") if path.read_text().startswith("#!")] + [
        ROOT / ".ci" / "run"
    ]
    command = [_SHELLCHECK, "--check-sourced", *scripts]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def _wait_for(condition: object) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
