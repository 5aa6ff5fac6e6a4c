"""Published peak rates of chips, with their sources.

A chip has two links along every axis of its slice. Along an axis that closes to a ring, as it does
where all axes are multiples of `ring` chips, a collective uses both, else one. What libtpu leaves
to a program is a little less memory than is sold: the numbers here are those that its compiler
(0.0.42.1) gives when a program needs more.
"""

from typing import NamedTuple

GIB = 2**30

_CLOUD = "https://docs.cloud.google.com/tpu/docs/"
# Six links of 50 GB/s each way.
_V4_PAPER = "https://arxiv.org/abs/2304.01433"
# Links and rings, and 25 GB/s for the network of a host, which has four v4.
_BOOK = "https://jax-ml.github.io/scaling-book/tpus"
_NVIDIA = "https://www.nvidia.com/en-us/data-center/"


class Chip(NamedTuple):
    """Rates of one chip, per second; a multiplication and an addition are two operations.

    `flops_per_cycle`: of bfloat16, by all its matrix units; 0 where no compiler gives cycles.
    `link_bytes` go over one link in one direction. `network_bytes` is a chip's share of what its
    host sends to other slices.
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


TPUS = {
    "v4": _tpu("v4", 8, 128, 275e12, 30.75, 1200e9, 50e9, 4, 6.25e9, source=_V4_PAPER),
    "v5e": _tpu("v5e", 4, 128, 197e12, 15.75, 819e9, 50e9, 16, 3.125e9, source=_BOOK),
    "v5p": _tpu("v5p", 8, 128, 459e12, 95.74, 2765e9, 100e9, 4, 6.25e9, source=_BOOK),
    # Four units by what its compiler gives a large product, 369,000 operations a cycle.
    "v6e": _tpu("v6e", 4, 256, 918e12, 31.25, 1638e9, 100e9, 16, 12.5e9, source=_BOOK),
}

# By the beginning of JAX's `device_kind`. A switch connects them, so every ring is closed; memory
# is asked of the device itself.
GPUS = {
    "NVIDIA A100-SXM4-80GB": Chip(
        "NVIDIA A100 SXM 80 GB",
        0,
        312e12,
        156e12,
        80e9,
        2039e9,
        150e9,
        1,
        25e9,
        (f"{_NVIDIA}a100/",),
    ),
    "NVIDIA H100 80GB HBM3": Chip(
        "NVIDIA H100 SXM", 0, 989e12, 494e12, 80e9, 3350e9, 225e9, 1, 50e9, (f"{_NVIDIA}h100/",)
    ),
}
