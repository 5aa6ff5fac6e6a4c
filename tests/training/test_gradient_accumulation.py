"""A batch is cut into parts where its rows lie.

Run as a program, this file cuts rows that are spread over eight CPU devices and prints what it saw.
"""

import json

import jax
import numpy as np

from glober_jax.parallel.mesh import batch_sharding, replicated
from glober_jax.training.gradient_accumulation import accumulate_gradients
from tests.eight_devices import on_eight_devices


def test_no_row_moves_between_devices() -> None:
    """Fails when rows are sent around, or every second row of a part is not one of the whole."""
    seen = on_eight_devices(__file__)
    whole = np.asarray(seen["rows"])[::2].mean(axis=0)
    np.testing.assert_allclose(seen["mean_of_every_second"], whole, rtol=1e-5, atol=1e-6)
    assert seen["moved_by"] == [] and seen["summed"]


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
