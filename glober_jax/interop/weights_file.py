"""The tensors of a safetensors or torch file; its content decides which, not its name."""

import functools
from collections.abc import Mapping
from pathlib import Path

# Importing it gives NumPy the type bfloat16, which safetensors then finds by its name.
import ml_dtypes  # noqa: F401
import numpy as np
from safetensors import SafetensorError, safe_open

from glober_jax.errors import UserError
from glober_jax.interop import torch_file
from glober_jax.interop.stored_tensor import StoredTensor

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"


def open_tensors(file: Path) -> dict[str, StoredTensor]:
    """The tensors by name, not read yet.

    Raises `UserError` for a file that is missing, damaged, of another kind, or has code in it.
    """
    try:
        with file.open("rb") as opened:
            start = opened.read(9)
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else "cannot be read"
        raise UserError(f"{file}: {reason}; give the path of a file of weights") from error
    # Its header begins after eight bytes with the header's length.
    if start.endswith(b"{"):
        return _open_safetensors(file)
    if start.startswith(_ZIP):
        return torch_file.open_tensors(file)
    if start.startswith(_PICKLE):
        raise UserError(
            f"{file} is a torch file in the format before torch 1.6; where you trust it, load it "
            "with a recent torch and save it again: torch.save(torch.load(FILE, "
            "weights_only=True), NEW_FILE)"
        )
    raise UserError(
        f"{file} is neither a safetensors file nor a torch file of weights; give the path of one"
    )


def inside(tensors: Mapping[str, StoredTensor], prefix: str) -> dict[str, StoredTensor]:
    """The tensors under `prefix`, where whole models keep a network; all if no name has it."""
    found = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    return found or dict(tensors)


def _open_safetensors(file: Path) -> dict[str, StoredTensor]:
    try:
        with safe_open(file, framework="np") as stored:
            slices = {name: stored.get_slice(name) for name in stored.keys()}  # noqa: SIM118
            return {
                name: StoredTensor(
                    tuple(view.get_shape()),
                    _DTYPES.get(view.get_dtype(), view.get_dtype()),
                    functools.partial(_read, file, name),
                )
                for name, view in slices.items()
            }
    except SafetensorError as error:
        raise UserError(
            f"{file} is cut off or damaged ({error}); download the .safetensors file again"
        ) from error


def _read(file: Path, name: str) -> np.ndarray:
    # Opened for every tensor: the pages that were read of a mapped file count as memory.
    with safe_open(file, framework="np") as stored:
        return stored.get_tensor(name)
