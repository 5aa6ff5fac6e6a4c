"""The same losses on any number of devices and processes, however the arrays are cut."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.end_to_end.several import metrics_by_step, started

STEPS = 20
FOUNDATION = {"autoencoder": ("codec",), "generator": ("codec", "autoencoder")}
# (processes, devices of each): mesh (data, fsdp, tensor) by what it cuts.
MESHES = {
    (1, 8): {"data": (8, 1, 1), "fsdp": (2, 4, 1), "tensor": (2, 2, 2)},
    (2, 2): {"data": (4, 1, 1), "fsdp": (1, 4, 1), "tensor": (1, 2, 2)},
    (4, 1): {"data": (4, 1, 1), "fsdp": (1, 4, 1), "tensor": (1, 2, 2)},
}


@pytest.fixture(scope="module")
def references() -> dict[str, Any]:
    """Metrics of one device, by stage, as far as they are trained."""
    return {}


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("cut", ["data", "fsdp", "tensor"])
@pytest.mark.parametrize(("processes", "devices"), MESHES)
@pytest.mark.parametrize("stage", FOUNDATION)
def test_any_number_of_processes_gives_the_losses_of_one_device(
    commands: Any,
    finished: Path,
    references: dict[str, Any],
    tmp_path: Path,
    stage: str,
    processes: int,
    devices: int,
    cut: str,
) -> None:
    """Fails when rows, random numbers, losses or gradients go by device or by process."""
    if stage not in references:
        references[stage] = _train(commands, finished, tmp_path / "one", stage, 1, 1, (1, 1, 1))
    one = references[stage]
    mesh = MESHES[processes, devices][cut]
    several = _train(commands, finished, tmp_path / "several", stage, processes, devices, mesh)
    assert several.keys() == one.keys()
    largest: dict[str, float] = {}
    for step, values in one.items():
        for name, value in values.items():
            apart = abs(several[step][name] - value) / max(abs(value), 1e-6)
            largest[name] = max(largest.get(name, 0.0), apart)
    listed = ", ".join(f"{name} {value:.1e}" for name, value in largest.items())
    print(f"{stage}, {processes} x {devices}, {cut} {mesh}: {listed}")
    losses = [values["loss"] for values in one.values() if "loss" in values]
    # They fell by far more than they may be apart, so it is trained networks that agree.
    assert len(losses) == STEPS and np.mean(losses[-5:]) < 0.97 * np.mean(losses[:5]), losses
    for name, value in largest.items():
        assert value <= (1e-5 if "loss" in name else 1e-4), (name, value)


def _train(
    commands: Any,
    finished: Path,
    workdir: Path,
    stage: str,
    processes: int,
    devices: int,
    mesh: tuple[int, int, int],
) -> dict[tuple[int, str], dict[str, float]]:
    """Metrics of a stage, trained on the earlier ones of the run that is finished."""
    for earlier in FOUNDATION[stage]:
        shutil.copytree(finished / earlier, workdir / earlier)
    flags = [
        *commands.train_flags(workdir),
        f"--stage={stage}",
        f"--config.{stage}.steps={STEPS}",
        # Of every stage it has to divide over the mesh.
        *(f"--config.{name}.batch_size=8" for name in ("codec", "autoencoder", "generator")),
        # Adam turns the rounding of a tiny gradient into a whole step.
        f"--config.{stage}.optimizer.learning_rate=1e-3",
        *(
            f"--config.mesh.{axis}={n}"
            for axis, n in zip(("data", "fsdp", "tensor"), mesh, strict=True)
        ),
        "--config.loop.preview_every=0",
        "--config.loop.checkpoint_every=0",
    ]
    if stage == "autoencoder":
        flags += ["--config.data.cache_latents=False"]
    else:
        # They have to be those of the codec, whose shards lie on all processes.
        flags += [f"--config.data.latents_dir={finished / 'latents'}"]
    with started(commands, flags, processes, devices) as trained:
        for process in trained:
            assert process.wait() == 0, process.said()
    return metrics_by_step(workdir, stage)
