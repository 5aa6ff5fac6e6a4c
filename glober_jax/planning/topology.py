"""Names of TPU slices -> their chips, as devices to compile for.

`v5e:4x4` is a generation and a shape, as in JAX's topology descriptions; `v5litepod-16` and
`v4-32` are accelerator types, as in `gcloud`; `local` are the devices of this machine.
"""

import dataclasses
import importlib.metadata
import importlib.util
import math
import os
import re

import jax

from glober_jax.errors import UserError
from glober_jax.planning.chips import GPUS, TPUS, Chip

LOCAL = "local"
INSTALL = "pip install -r requirements-plan.txt"
_EXAMPLES = "v5e:4x4, v6e:16x16, v4:2x2x4, v5p:4x4x4, v5litepod-16, v4-32 or local"
_DIMENSIONS = {"v4": 3, "v5e": 2, "v5p": 3, "v6e": 2}
# Shapes that accelerator types stand for, by the number in their name. Those of v4 and v5p count
# cores, two to a chip.
_FLAT = {math.prod(s): s for s in ((1, 1), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16))}
_FLAT |= {256: (16, 16)}
_CUBIC = {8: (2, 2, 1), 16: (2, 2, 2), 32: (2, 2, 4), 64: (2, 4, 4), 128: (4, 4, 4)}
_CUBIC |= {256: (4, 4, 8), 512: (4, 8, 8), 1024: (8, 8, 8), 2048: (8, 8, 16), 4096: (8, 16, 16)}


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
    generation, shape = _slice(name)
    if len(shape) != _DIMENSIONS[generation] or 0 in shape:
        raise UserError(
            f"--topology={name}: a slice of {generation} has {_DIMENSIONS[generation]} dimensions, "
            f"each 1 or more, as in {_EXAMPLES}"
        )
    return Topology(name, generation, shape, slices, TPUS[generation])


def _slice(name: str) -> tuple[str, tuple[int, ...]]:
    """(generation, shape of a slice) of `v5e:4x4` or `v5litepod-16`."""
    found = re.fullmatch(r"(v\w+)(?::(\d+(?:x\d+)*)|-(\d+))", name)
    generation = found[1].replace("v5litepod", "v5e") if found else ""
    if generation not in TPUS:
        raise UserError(
            f"--topology={name} is no slice of {', '.join(TPUS)}; write it as {_EXAMPLES}"
        )
    if found[2]:
        return generation, tuple(map(int, found[2].split("x")))
    shapes = _FLAT if _DIMENSIONS[generation] == 2 else _CUBIC
    if int(found[3]) not in shapes:
        sizes = ", ".join(map(str, shapes))
        raise UserError(f"--topology={name}: {found[1]}- goes with one of {sizes}")
    return generation, shapes[int(found[3])]


def compile_only() -> None:
    """Prepares this process for absent TPUs, before JAX uses any device.

    libtpu otherwise looks for a TPU, waits for the metadata server of a cloud it is not in, prints
    what it did not find, and refuses to be loaded by two processes at once.
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
