"""Estimated seconds of a step: published rates times counts, under stated assumptions."""

import numpy as np

from glober_jax.planning.collectives import Collective
from glober_jax.planning.topology import Topology

# Assumed where the compiler does not say; its own model gave a step of this size 36 % on a v4.
EFFICIENCY = 0.4
ASSUMPTIONS = (
    "computing on a TPU takes the cycles that its compiler estimates; where there is no usable "
    f"estimate, matrix products and convolutions run at {EFFICIENCY:.0%} of the chip's peak",
    "every byte that the compiled program reads or writes passes HBM at its full rate; where the "
    "compiler counted the body of a loop once, bytes are scaled as operations are",
    "computing and HBM traffic overlap; collectives overlap with nothing",
    "a collective runs along one axis of the slice, over both links where axes close to rings, "
    "else over one; between slices every chip sends its share over its host's network",
    "no time for latency, stragglers, input, logging, previews or checkpoints",
)


def estimate(
    topology: Topology,
    compute: float,
    hbm_bytes: float,
    collectives: list[Collective],
    slice_of: np.ndarray,
) -> dict[str, float]:
    """Seconds of a step by part, and of all as `step`.

    Args:
      topology: a slice whose chip's rates are known.
      compute: seconds of computing on each chip.
      hbm_bytes: bytes that each chip reads and writes.
      collectives: those of the program.
      slice_of: the slice of each position of the mesh, int [devices].
    """
    chip = topology.chip
    ring = chip.link_bytes * (2 if topology.closed_rings else 1)
    interconnect = network = 0.0
    for collective in collectives:
        kind, size = collective.kind, collective.runs * collective.bytes
        spanned = max(len(set(group)) for group in slice_of[collective.groups].tolist())
        within = collective.groups.shape[1] // spanned
        interconnect += _sent(kind, size, within) / ring
        # Chips of one slice share what goes to the others.
        network += _sent(kind, size, spanned) / within / chip.network_bytes
    hbm = hbm_bytes / chip.hbm_bytes_per_second
    parts = {"compute": compute, "hbm": hbm, "interconnect": interconnect, "network": network}
    return {**parts, "step": max(compute, hbm) + interconnect + network}


def _sent(kind: str, size: float, members: int) -> float:
    """Bytes that each member of a group sends in a ring, for an array of that size."""
    if members < 2:
        return 0.0
    if kind == "collective-permute":
        return size
    share = size * (members - 1) / members
    return 2 * share if kind == "all-reduce" else share
