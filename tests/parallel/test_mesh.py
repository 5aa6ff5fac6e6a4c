"""Meshes of devices that are not here: their order, and a sentence where there is no such mesh."""

import dataclasses

import jax
import pytest
from jax.sharding import AbstractMesh, AxisType

from glober_jax.errors import UserError
from glober_jax.parallel.mesh import AXES, MeshShape, batch_share, check_batch, make_mesh


@dataclasses.dataclass(frozen=True)
class Device:
    """As much of a device as a mesh looks at."""

    id: int
    process_index: int
    slice_index: int
    platform: str = "tpu"
    device_kind: str = "pretended"
    core_on_chip: int = 0

    @property
    def coords(self) -> tuple[int, int, int]:
        """Its place in a slice of 2 x 2 chips."""
        return self.id % 2, self.id // 2 % 2, 0


# Two slices of four chips; every host has two.
TWO_SLICES = [Device(i, process_index=i // 2, slice_index=i // 4) for i in range(8)]


def test_only_data_spans_slices() -> None:
    """Fails when parameters are gathered over the data-center network."""
    # Devices do not come in order.
    mesh = make_mesh(MeshShape(data=-1, fsdp=2, tensor=2), TWO_SLICES[::-1])
    assert dict(mesh.shape) == {"data": 2, "fsdp": 2, "tensor": 2}
    assert mesh.axis_types == (AxisType.Auto,) * 3
    for index, devices in enumerate(mesh.devices):
        assert {device.slice_index for device in devices.flat} == {index}


def test_processes_are_slices_where_devices_say_nothing() -> None:
    """Fails when slices cannot be tried on CPUs, or devices that say nothing are not one slice."""
    cpus = [Device(i, i // 2, 0, platform="cpu") for i in range(8)]
    mesh = make_mesh(MeshShape(fsdp=2, slices=4), cpus)
    assert [{d.process_index for d in row.flat} for row in mesh.devices] == [{0}, {1}, {2}, {3}]
    assert make_mesh(MeshShape(fsdp=8), cpus).shape["fsdp"] == 8
    # Hosts with GPUs are slices to JAX, but may be one to us.
    gpus = [dataclasses.replace(device, platform="gpu") for device in TWO_SLICES]
    assert make_mesh(MeshShape(fsdp=8, slices=1), gpus).shape["fsdp"] == 8


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (MeshShape(-1, -1, 1), "config.mesh .* at most one -1; it is data=-1, fsdp=-1, tensor=1"),
        (MeshShape(3, 1, 1), "needs 3 devices, but 8 are present"),
        (MeshShape(-1, 3, 1), "data=2 x fsdp=3 x tensor=1 needs 6 devices"),
        (MeshShape(-1, 4, 2), "2 slices are 4 in each, which fsdp x tensor = 4 x 2 = 8 does not"),
        (MeshShape(-1, 1, 1, slices=3), "config.mesh.slices is 3, but the devices are of 2 slices"),
        (MeshShape(-1, 1, 1, slices=1), "config.mesh.slices is 1, but the devices are of 2 slices"),
    ],
    ids=str,
)
def test_impossible_meshes_are_one_sentence(shape: MeshShape, message: str) -> None:
    """Fails when the library's own error comes up, or devices are left out."""
    with pytest.raises(UserError, match=message):
        make_mesh(shape, TWO_SLICES)


@pytest.mark.parametrize(
    ("shape", "shares"),
    [
        (MeshShape(8, 1, 1), [(0, 4), (1, 4), (2, 4), (3, 4)]),
        (MeshShape(1, 2, 4), [(0, 2), (0, 2), (1, 2), (1, 2)]),
        (MeshShape(1, 1, 8), [(0, 1)] * 4),
    ],
    ids=str,
)
def test_processes_of_the_same_rows_read_the_same(
    monkeypatch: pytest.MonkeyPatch, shape: MeshShape, shares: list[tuple[int, int]]
) -> None:
    """Fails when processes that `tensor` spans hold different clips as one batch's same rows."""
    mesh = make_mesh(shape, [Device(i, i // 2, 0, platform="cpu") for i in range(8)])
    found = []
    for process in range(4):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        found.append(batch_share(mesh))
    assert found == shares


def test_batches_that_do_not_divide_are_refused() -> None:
    """Fails when the tensor axis counts as a batch axis, a device's rows of a micro-batch would
    have to be moved, or the message lacks the numbers.
    """
    check_batch(AbstractMesh((2, 2, 2), AXES), 12, "codec")
    mesh = AbstractMesh((2, 4, 1), AXES)
    check_batch(mesh, 64, "autoencoder", 4, clip_stride=2)
    check_batch(mesh, 8, "autoencoder", clip_stride=2)
    with pytest.raises(UserError, match=r"config.codec.batch_size=12 .* 8: data x fsdp = 8$"):
        check_batch(mesh, 12, "codec")
    with pytest.raises(UserError, match=r"batch_size=64 .* 128: .* micro_batches = 8 x clip_.* 2$"):
        check_batch(mesh, 64, "autoencoder", 8, clip_stride=2)
    with pytest.raises(UserError, match=r"batch_size=8 .* multiple of 16: .* micro_batches = 2"):
        check_batch(mesh, 8, "codec", 2)
