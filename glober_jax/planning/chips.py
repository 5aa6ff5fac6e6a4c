"""Published rates of the chips that are planned for, and where they were published.

What libtpu leaves to a program is a little less memory than is sold: the numbers here are those
its compiler (0.0.42.1) gives when a program needs more.
"""

import dataclasses

GIB = 2**30

_CLOUD = "https://docs.cloud.google.com/tpu/docs/"
# Six links of 50 GB/s each way.
_V4_PAPER = "https://arxiv.org/abs/2304.01433"
# Links and rings, and 25 GB/s for the network of a host, which has four v4.
_BOOK = "https://jax-ml.github.io/scaling-book/tpus"
_NVIDIA = "https://www.nvidia.com/en-us/data-center/"


@dataclasses.dataclass(frozen=True)
class Chip:
    """Rates of one chip, per second; a multiplication and an addition are two operations.

    `link_bytes` go over one link in one direction. A chip has two links along every axis of its
    slice; along one that closes to a ring, which it does where all axes are multiples of `ring`
    chips, a collective uses both, else one. `network_bytes` is a chip's share of what its host
    sends to other slices.
    """

    name: str
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


# XLA multiplies float32 on TPUs in one pass of bfloat16, unless asked for more.
TPUS = {
    "v4": Chip(
        name="TPU v4",
        bfloat16_flops=275e12,
        float32_flops=275e12,
        hbm_bytes=30.75 * GIB,
        hbm_bytes_per_second=1200e9,
        link_bytes=50e9,
        ring=4,
        network_bytes=6.25e9,
        sources=(f"{_CLOUD}v4", _V4_PAPER, _BOOK),
    ),
    "v5e": Chip(
        name="TPU v5e",
        bfloat16_flops=197e12,
        float32_flops=197e12,
        hbm_bytes=15.75 * GIB,
        hbm_bytes_per_second=819e9,
        link_bytes=50e9,
        ring=16,
        network_bytes=3.125e9,
        sources=(f"{_CLOUD}v5e", _BOOK),
    ),
    "v5p": Chip(
        name="TPU v5p",
        bfloat16_flops=459e12,
        float32_flops=459e12,
        hbm_bytes=95.74 * GIB,
        hbm_bytes_per_second=2765e9,
        link_bytes=100e9,
        ring=4,
        network_bytes=6.25e9,
        sources=(f"{_CLOUD}v5p", _BOOK),
    ),
    "v6e": Chip(
        name="TPU v6e",
        bfloat16_flops=918e12,
        float32_flops=918e12,
        hbm_bytes=31.25 * GIB,
        hbm_bytes_per_second=1638e9,
        link_bytes=100e9,
        ring=16,
        network_bytes=12.5e9,
        sources=(f"{_CLOUD}v6e", _BOOK),
    ),
}

# By the beginning of JAX's `device_kind`. A switch connects them, so every ring is closed; memory
# is asked of the device itself.
GPUS = {
    "NVIDIA A100-SXM4-80GB": Chip(
        name="NVIDIA A100 SXM 80 GB",
        bfloat16_flops=312e12,
        float32_flops=156e12,
        hbm_bytes=80e9,
        hbm_bytes_per_second=2039e9,
        link_bytes=150e9,
        ring=1,
        network_bytes=25e9,
        sources=(f"{_NVIDIA}a100/",),
    ),
    "NVIDIA H100 80GB HBM3": Chip(
        name="NVIDIA H100 SXM",
        bfloat16_flops=989e12,
        float32_flops=494e12,
        hbm_bytes=80e9,
        hbm_bytes_per_second=3350e9,
        link_bytes=225e9,
        ring=1,
        network_bytes=50e9,
        sources=(f"{_NVIDIA}h100/",),
    ),
}
