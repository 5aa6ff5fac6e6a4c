"""What the loader leaves to the devices."""

import numpy as np

from glober_jax.parallel.mesh import MeshShape, batch_sharding, make_mesh
from glober_jax.training.device_batch import device_batch


def test_marked_clips_are_mirrored() -> None:
    """Fails when clips are mirrored that are not marked, upside down, or in only one field.

    (broken: another axis; the mark inverted; target frames left as they are.)
    """
    mesh = make_mesh(MeshShape(data=-1, fsdp=1, tensor=1))
    rng = np.random.default_rng(0)
    keys, targets = (rng.integers(0, 256, (8, count, 4, 6, 3), np.uint8) for count in (3, 2))
    mirrored = np.arange(8) % 3 == 0
    batch = {"key_frames": keys, "target_frames": targets, "label": np.arange(8, dtype=np.int32)}
    plain = device_batch(batch, mesh)
    marked = device_batch(batch | {"mirrored": mirrored}, mesh)
    assert plain.keys() == marked.keys() == batch.keys()
    for name, rows in batch.items():
        assert marked[name].sharding == plain[name].sharding == batch_sharding(mesh)
        np.testing.assert_array_equal(plain[name], rows)
        np.testing.assert_array_equal(marked[name][~mirrored], rows[~mirrored])
    for name in ("key_frames", "target_frames"):
        np.testing.assert_array_equal(marked[name][mirrored], batch[name][mirrored, ..., ::-1, :])
