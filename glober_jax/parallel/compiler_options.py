"""XLA compiler options of training, sampling and `plan`.

Options of each program, not LIBTPU_INIT_ARGS, so that they hold however a run is started.
"""

from jax.sharding import Mesh

# From MaxDiffusion's recipe for Wan 2.1 (github.com/AI-Hypercomputer/maxdiffusion). They
# are defaults of libtpu 0.0.42.1: without them two dense layers over 16 chips compile alike.
_TPU: dict[str, bool | int | str] = {
    # Collectives overlap with other work.
    "xla_tpu_enable_latency_hiding_scheduler": True,
    "xla_enable_async_all_gather": True,
    "xla_enable_async_collective_permute": True,
    # An all-gather may run inside several fusions.
    "xla_tpu_enable_async_collective_fusion": True,
    "xla_tpu_enable_async_collective_fusion_fuse_all_gather": True,
    "xla_tpu_enable_async_collective_fusion_multiple_steps": True,
    "xla_tpu_overlap_compute_collective_tc": True,
    # Sums of gradients over `data` wait only for their own layer.
    "xla_tpu_enable_data_parallel_all_reduce_opt": True,
    "xla_tpu_data_parallel_opt_different_sized_ops": True,
    # Above any operand, in MiB: products of gathered parameters are not split into loops that pass
    # shards around, which moved more bytes on a UNet.
    "xla_jf_spmd_threshold_for_windowed_einsum_mib": 1_000_000,
}
# KiB of vector memory for one fusion; by default 16 MiB, all that a v4 has. v5e and v6e have 128
# MiB, v5p 64 for each core. By the compiler's estimate 13 % fewer cycles for those two layers on a
# v5e. Each chip has two names, by the version of libtpu.
_VMEM_KIB = {
    **dict.fromkeys(("TPU v5 lite", "TPU v5e", "TPU v5", "TPU v5p"), 65536),
    **dict.fromkeys(("TPU v6 lite", "TPU v6e"), 98304),
}


def compiler_options(mesh: Mesh) -> dict[str, bool | int | str]:
    """Options of `jax.jit` for a program on the devices of `mesh`; none but for TPUs."""
    device = mesh.devices.flat[0]
    if device.platform != "tpu":
        return {}
    vmem = _VMEM_KIB.get(device.device_kind)
    return _TPU | ({"xla_tpu_scoped_vmem_limit_kib": vmem} if vmem else {})
