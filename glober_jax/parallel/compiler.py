"""What the compiler is told beyond its defaults, by the kind of device."""

from jax.sharding import Mesh


def compiler_options(mesh: Mesh) -> dict[str, int]:
    """Options of a training step on the devices of `mesh`.

    On TPUs parameters are gathered whole before they are used. By default XLA instead turns large
    matrix products of gathered operands into loops that pass shards around; on a UNet that moved
    more bytes and was estimated slower. The threshold, in MiB, is above any operand.
    """
    if mesh.devices.flat[0].platform == "tpu":
        return {"xla_jf_spmd_threshold_for_windowed_einsum_mib": 1_000_000}
    return {}
