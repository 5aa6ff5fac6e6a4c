"""TPU slices by name: their chips' published peak rates, and devices to compile for.

`v5e:4x4` is a generation and a shape, as in JAX's topology descriptions; `v5litepod-16` and
`v4-32` are accelerator types, as in `gcloud`; `local` is the devices of this machine.
"""

import dataclasses
import importlib.metadata
import importlib.util
import math
import os
import re
from typing import NamedTuple

import jax

from glober_jax.errors import UserError

GIB = 2**30
LOCAL = "local"
INSTALL = "pip install -r requirements-plan.txt"
_EXAMPLES = "v5e:4x4, v6e:16x16, v4:2x2x4, v5p:4x4x4, v5litepod-16, v4-32 or local"
_DIMENSIONS = {"v4": 3, "v5e": 2, "v5p": 3, "v6e": 2}
# Shapes of accelerator types, by the number in their name. Those of v4 and v5p count cores, two to
# a chip.
_FLAT = {math.prod(s): s for s in ((1, 1), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16))}
_FLAT |= {256: (16, 16)}
_CUBIC = {8: (2, 2, 1), 16: (2, 2, 2), 32: (2, 2, 4), 64: (2, 4, 4), 128: (4, 4, 4)}
_CUBIC |= {256: (4, 4, 8), 512: (4, 8, 8), 1024: (8, 8, 8), 2048: (8, 8, 16), 4096: (8, 16, 16)}

_CLOUD = "https://docs.cloud.google.com/tpu/docs/"
# Six links of 50 GB/s each way.
_V4_PAPER = "https://arxiv.org/abs/2304.01433"
# Links and rings, and 25 GB/s for the network of a host, which has four v4.
_BOOK = "https://jax-ml.github.io/scaling-book/tpus"
_NVIDIA = "https://www.nvidia.com/en-us/data-center/"


class Chip(NamedTuple):
    """Peak rates of one chip, per second; a multiplication and an addition are two operations.

    `flops_per_cycle`: of bfloat16, by all its matrix units; 0 where no compiler gives cycles.
    `hbm_bytes`: for TPUs what libtpu's compiler (0.0.42.1) leaves to a program, a little less than
    is sold. `link_bytes` go over one link in one direction. Every axis of a slice has two links; a
    collective uses both where the axis closes to a ring, which it does where all axes are multiples
    of `ring` chips. `network_bytes` is a chip's share of what its host sends to other slices.
    """

    name: str
    flops_per_cycle: int
    bfloat16_flops: float
    float32_flops: float
    hbm_bytes: float
    hbm_bytes_per_second: float
    link_bytes: float
    ring: int
    network_bytes: float
    sources: tuple[str, ...]

    def flops(self, dtype: str) -> float:
        """Peak rate of matrix products of the config's `dtype`."""
        return self.bfloat16_flops if dtype == "bfloat16" else self.float32_flops


def _tpu(
    name: str, units: int, side: int, flops: float, gib: float, *rates: float, source: str
) -> Chip:
    """A chip with `units` matrix units of side x side multipliers.

    XLA multiplies float32 on TPUs in one pass of bfloat16, unless asked for more.
    """
    sources = (f"{_CLOUD}{name}", source)
    return Chip(f"TPU {name}", 2 * units * side**2, flops, flops, gib * GIB, *rates, sources)


def _gpu(name: str, *rates: float, network: float, page: str) -> Chip:
    """A switch connects GPUs, so every ring is closed."""
    return Chip(f"NVIDIA {name}", 0, *rates, 1, network, (f"{_NVIDIA}{page}/",))


TPUS = {
    "v4": _tpu("v4", 8, 128, 275e12, 30.75, 1200e9, 50e9, 4, 6.25e9, source=_V4_PAPER),
    "v5e": _tpu("v5e", 4, 128, 197e12, 15.75, 819e9, 50e9, 16, 3.125e9, source=_BOOK),
    "v5p": _tpu("v5p", 8, 128, 459e12, 95.74, 2765e9, 100e9, 4, 6.25e9, source=_BOOK),
    # Four units by what its compiler gives a large product, 369,000 operations a cycle.
    "v6e": _tpu("v6e", 4, 256, 918e12, 31.25, 1638e9, 100e9, 16, 12.5e9, source=_BOOK),
}
# By the beginning of JAX's `device_kind`. Their memory is asked of the device itself.
GPUS = {
    "NVIDIA A100-SXM4-80GB": _gpu(
        "A100 SXM 80 GB", 312e12, 156e12, 80e9, 2039e9, 150e9, network=25e9, page="a100"
    ),
    "NVIDIA H100 80GB HBM3": _gpu(
        "H100 SXM", 989e12, 494e12, 80e9, 3350e9, 225e9, network=50e9, page="h100"
    ),
}


@dataclasses.dataclass(frozen=True)
class Topology:
    """`slices` equal slices of chips; `shape` is that of one.

    `chip` is None for local devices whose rates are not in the tables.
    """

    name: str
    generation: str
    shape: tuple[int, ...]
    slices: int
    chip: Chip | None

    @property
    def chips(self) -> int:
        """The number of chips in all slices together."""
        return math.prod(self.shape) * self.slices

    @property
    def closed_rings(self) -> bool:
        """Whether every axis of a slice closes to a ring."""
        return self.chip is not None and all(n % self.chip.ring == 0 for n in self.shape)

    def devices(self) -> list[jax.Device]:
        """The local devices, or stand-ins to compile for.

        Raises:
          UserError: libtpu does not fit JAX, or knows no such slice.
        """
        if self.generation == LOCAL:
            return jax.devices()
        from jax.experimental import topologies

        options = {"num_slices": self.slices} if self.slices > 1 else {}
        if self.generation == "v4":
            # Without, its two cores are devices of their own.
            options["chip_config_name"] = "megacore"
        if math.prod(self.shape) == 1:
            options["chips_per_host_bounds"] = (1, 1, 1)
        name = f"{self.generation}:{'x'.join(map(str, self.shape))}"
        try:
            return topologies.get_topology_desc(name, "tpu", **options).devices
        except Exception as error:
            raise UserError(
                f"libtpu {libtpu_version()} makes no slice {name} for JAX {jax.__version__}: "
                f"{str(error).splitlines()[0]}; it does make {_EXAMPLES}, if the two fit each "
                f"other as {INSTALL} sees to"
            ) from error


def parse_topology(name: str, slices: int = 1) -> Topology:
    """Raises `UserError` unless `name` is one of the forms above."""
    if slices < 1:
        raise UserError(f"--slices={slices} must be 1 or more")
    if name == LOCAL:
        if slices > 1:
            raise UserError("--slices is for TPUs, not for --topology=local")
        kind = jax.devices()[0].device_kind
        chip = next((chip for start, chip in GPUS.items() if kind.startswith(start)), None)
        return Topology(LOCAL, LOCAL, (jax.device_count(),), 1, chip)
    found = re.fullmatch(r"(v\w+)(?::(\d+(?:x\d+)*)|-(\d+))", name)
    generation = found[1].replace("v5litepod", "v5e") if found else ""
    if generation not in TPUS:
        raise UserError(
            f"--topology={name} is no slice of {', '.join(TPUS)}; write it as {_EXAMPLES}"
        )
    dimensions = _DIMENSIONS[generation]
    if found[2]:
        shape = tuple(map(int, found[2].split("x")))
    else:
        shapes = _FLAT if dimensions == 2 else _CUBIC
        if int(found[3]) not in shapes:
            sizes = ", ".join(map(str, shapes))
            raise UserError(f"--topology={name}: {found[1]}- goes with one of {sizes}")
        shape = shapes[int(found[3])]
    if len(shape) != dimensions or 0 in shape:
        raise UserError(
            f"--topology={name}: a slice of {generation} has {dimensions} dimensions, each 1 or "
            f"more, as in {_EXAMPLES}"
        )
    return Topology(name, generation, shape, slices, TPUS[generation])


def compile_only() -> None:
    """Prepares this process to compile without TPUs, before JAX uses any device.

    libtpu otherwise looks for a TPU, waits for the metadata server of a cloud, prints what it did
    not find, and refuses to be loaded by two processes at once.
    """
    os.environ.update(
        {
            "TPU_SKIP_MDS_QUERY": "1",
            "TPU_ACCELERATOR_TYPE": "v5litepod-16",
            "TPU_WORKER_HOSTNAMES": "localhost",
            "TPU_WORKER_ID": "0",
            "TPU_MIN_LOG_LEVEL": "3",
            "TPU_STDERR_LOG_LEVEL": "3",
            "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        }
    )
    jax.config.update("jax_platforms", "cpu")


def libtpu_version() -> str | None:
    """None where it is not installed."""
    found = importlib.util.find_spec("libtpu")
    return importlib.metadata.version("libtpu") if found else None
