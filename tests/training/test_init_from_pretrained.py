"""Networks that a stage begins with, written by a conversion and read onto the mesh."""

from pathlib import Path

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from etils import epath
from safetensors.numpy import load_file

from glober_jax.errors import UserError
from glober_jax.models.networks import Networks
from glober_jax.training.init_from_pretrained import (
    check_pretrained,
    init_from_pretrained,
    pretrained_file,
    write_pretrained,
)
from glober_jax.training.state import new_state
from tests.tiny import drawn_params, mesh_of

NETWORK, OTHER = "global_tokens", "discriminator"


def _flat(networks: Networks, seed: int) -> dict[str, np.ndarray]:
    drawn = drawn_params(networks, (NETWORK,), seed)[NETWORK]
    return flax.traverse_util.flatten_dict(jax.device_get(drawn), sep="/")


def test_a_fresh_state_takes_what_is_there(
    networks: Networks, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fails when parameters or their average stay as drawn, or anything else changes."""
    params = drawn_params(networks, (NETWORK, OTHER))
    state = new_state(params, optax.adam(1e-3), (NETWORK, OTHER), {"scale": jnp.ones(3)})
    workdir, mesh = epath.Path(tmp_path), mesh_of()
    assert init_from_pretrained(state, "autoencoder", workdir, mesh) is state
    assert capsys.readouterr().err == ""

    given = _flat(networks, seed=1)
    file = write_pretrained(workdir, NETWORK, given)
    # Any reader of the format can read it.
    jax.tree.map(np.testing.assert_array_equal, load_file(file), given)
    check_pretrained(workdir, networks, (NETWORK, OTHER))
    begun = init_from_pretrained(state, "autoencoder", workdir, mesh)
    for trees in (begun.params, begun.ema):
        flat = flax.traverse_util.flatten_dict(jax.device_get(trees[NETWORK]), sep="/")
        jax.tree.map(np.testing.assert_array_equal, flat, given)
        jax.tree.map(np.testing.assert_array_equal, trees[OTHER], params[OTHER])
    buffers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves((begun.params, begun.ema))]
    assert len(set(buffers)) == len(buffers)
    unchanged = [(s.step, s.opt_state, s.constants) for s in (begun, state)]
    jax.tree.map(np.testing.assert_array_equal, *unchanged)
    said = capsys.readouterr().err
    assert said == (
        f"autoencoder starts with {NETWORK} from {tmp_path}/initial; at initial values: {OTHER}\n"
    )


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (
            "shape",
            r"another config\.model: 1 differ \(domain is \[9, 16\] there, \[4, 16\] ",
        ),
        ("path", r"1 differ \(domain is missing there, \[4, 16\] here\)"),
        ("truncated", "is cut off or damaged; convert again, or remove it"),
        ("empty", "is cut off or damaged"),
    ],
)
def test_files_of_something_else(networks: Networks, tmp_path: Path, kind: str, says: str) -> None:
    """Fails when a config changed in between ends in a stack trace, or goes unnoticed."""
    arrays = _flat(networks, seed=1)
    if kind == "shape":
        arrays["domain"] = np.zeros((9, 16), np.float32)
    elif kind == "path":
        del arrays["domain"]
    file = write_pretrained(tmp_path, NETWORK, arrays)
    contents = {"truncated": file.read_bytes()[:-4], "empty": b""}
    file.write_bytes(contents.get(kind, file.read_bytes()))
    with pytest.raises(UserError, match=says) as caught:
        check_pretrained(tmp_path, networks, (NETWORK,))
    assert str(pretrained_file(tmp_path, NETWORK)) in str(caught.value)
