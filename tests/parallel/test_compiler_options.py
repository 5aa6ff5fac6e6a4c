"""Options of the compiler are those of the devices, and are known to it."""

import importlib.util
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glober_jax.parallel.compiler_options import compiler_options
from glober_jax.planning import topology
from tests.tiny import mesh_of


def test_only_tpus_are_asked_for_more() -> None:
    """Fails when a CPU or GPU is given options of libtpu, or a fusion more memory than there is."""
    assert compiler_options(mesh_of()) == {}

    def vmem(kind: str) -> int | None:
        device = SimpleNamespace(platform="tpu", device_kind=kind)
        mesh = SimpleNamespace(devices=np.array([device]))
        return compiler_options(mesh).get("xla_tpu_scoped_vmem_limit_kib")

    assert vmem("TPU v4") is None
    assert vmem("TPU v5 lite") == vmem("TPU v5p") == 65536
    assert vmem("TPU v6 lite") == 98304


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
@pytest.mark.parametrize("name", ["v4:2x2x1", "v5e:2x2", "v5p:2x2x1", "v6e:2x2"])
def test_libtpu_knows_them(name: str) -> None:
    """Fails when a release of libtpu, or a generation, refuses an option."""
    topology.compile_only()
    mesh = jax.sharding.Mesh(np.array(topology.parse_topology(name).devices()), ("x",))
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
    options = compiler_options(mesh)
    assert options
    jitted = jax.jit(jnp.sin, in_shardings=spread, compiler_options=options)
    jitted.trace(jax.ShapeDtypeStruct((8,), jnp.float32)).lower(
        lowering_platforms=("tpu",)
    ).compile()
