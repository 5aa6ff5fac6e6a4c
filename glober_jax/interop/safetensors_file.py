"""Reading `.safetensors` files: names, shapes and plain numbers, and nothing that is executed."""

import functools
from pathlib import Path

# Importing it gives NumPy the type bfloat16, which safetensors then finds by its name.
import ml_dtypes  # noqa: F401
import numpy as np
from safetensors import SafetensorError, safe_open

from glober_jax.errors import UserError
from glober_jax.interop.stored_tensor import StoredTensor

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def open_tensors(file: Path) -> dict[str, StoredTensor]:
    """The tensors of a file by name, unread.

    Raises:
      UserError: not a safetensors file, or only a part of one.
    """
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
    # Opened for every tensor: a file that stays mapped counts as memory, as far as it was read.
    with safe_open(file, framework="np") as stored:
        return stored.get_tensor(name)
