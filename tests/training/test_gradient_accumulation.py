"""A batch is cut into parts where its rows lie.

Run as a program, this file cuts rows that are spread over eight CPU devices and prints what it saw.
"""

import json

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh

from glober_jax.errors import UserError
from glober_jax.parallel.mesh import batch_sharding, replicated
from glober_jax.training.gradient_accumulation import accumulate_gradients, check_micro_batches
from tests.eight_devices import on_eight_devices


def test_no_row_moves_between_devices() -> None:
    """Fails when rows are sent around, or every second row of a part is not one of the whole.

    Broken: `rows.reshape(k, -1)`, whose parts lie on some devices only.
    """
    seen = on_eight_devices(__file__)
    whole = np.asarray(seen["rows"])[::2].mean(axis=0)
    np.testing.assert_allclose(seen["mean_of_every_second"], whole, rtol=1e-5, atol=1e-6)
    assert seen["moved_by"] == [] and seen["summed"]


def test_batches_that_cannot_be_cut_are_refused() -> None:
    """Fails when the compiler is left to say so, or a device's rows would have to be moved."""
    mesh = AbstractMesh((2, 4, 1), ("data", "fsdp", "tensor"))
    check_micro_batches(mesh, 64, 4, "autoencoder", clip_stride=2)
    check_micro_batches(mesh, 8, 1, "autoencoder", clip_stride=2)
    with pytest.raises(UserError, match=r"batch_size=64 .* 8 x data x fsdp = 8 x .*2, .* of 128"):
        check_micro_batches(mesh, 64, 8, "autoencoder", clip_stride=2)
    with pytest.raises(UserError, match=r"config.codec.batch_size=8 .* 2 x data x fsdp = 8, .* 16"):
        check_micro_batches(mesh, 8, 2, "codec")


if __name__ == "__main__":
    axes, types = ("data", "fsdp", "tensor"), (jax.sharding.AxisType.Auto,) * 3
    mesh = jax.make_mesh((4, 2, 1), axes, axis_types=types)
    rows = np.random.default_rng(0).standard_normal((32, 3)).astype(np.float32)

    def every_second(rows: jax.Array) -> jax.Array:
        return accumulate_gradients(lambda part: part[::2].mean(axis=0), rows, 2, mesh)

    jitted = jax.jit(
        every_second, in_shardings=batch_sharding(mesh), out_shardings=replicated(mesh)
    )
    compiled = jitted.lower(rows).compile()
    movers = ("all-to-all", "collective-permute", "all-gather")
    result = {
        "rows": rows.tolist(),
        "mean_of_every_second": compiled(jax.device_put(rows, batch_sharding(mesh))).tolist(),
        "moved_by": [name for name in movers if name in compiled.as_text()],
        "summed": "all-reduce" in compiled.as_text(),
    }
    print(json.dumps(result))
