"""XLA compiler options beyond the defaults, shared by training, sampling and `plan`.

As options of each program, not as LIBTPU_INIT_ARGS, so that every way to start a run has them, and
`plan`, which compiles for chips that are not there, too.
"""

from jax.sharding import Mesh

# Those of MaxDiffusion's recipe for Wan 2.1 (github.com/AI-Hypercomputer/maxdiffusion) that concern
# what happens here. libtpu 0.0.42.1 knows each of them, and does by default what they say: with and
# without, the program of two dense layers over 16 chips is the same. Said here so that it stays.
_TPU: dict[str, bool | int | str] = {
    # Collectives are begun early and waited for late, beside other work.
    "xla_tpu_enable_latency_hiding_scheduler": True,
    "xla_enable_async_all_gather": True,
    "xla_enable_async_collective_permute": True,
    # An all-gather may run inside the fusions that compute meanwhile, over several of them.
    "xla_tpu_enable_async_collective_fusion": True,
    "xla_tpu_enable_async_collective_fusion_fuse_all_gather": True,
    "xla_tpu_enable_async_collective_fusion_multiple_steps": True,
    "xla_tpu_overlap_compute_collective_tc": True,
    # Sums of gradients over `data` wait for no layer but their own, also where sizes differ.
    "xla_tpu_enable_data_parallel_all_reduce_opt": True,
    "xla_tpu_data_parallel_opt_different_sized_ops": True,
    # Large products of gathered parameters are not split into loops that pass shards around: on a
    # UNet these moved more bytes and were estimated slower. In MiB, above any operand.
    "xla_jf_spmd_threshold_for_windowed_einsum_mib": 1_000_000,
}
# KiB of vector memory that one fusion may take, in place of 16 MiB, which is all that a v4 has. By
# the compiler's estimate 13 % fewer cycles for the same two layers on a v5e. v5e and v6e have 128
# MiB, v5p 64 for each core. Each has two names, by the version of libtpu.
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
