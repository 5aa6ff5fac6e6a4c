"""Reading `.safetensors` files: names, shapes and plain numbers, and nothing that is executed."""

from pathlib import Path
from typing import Any

# Importing it gives NumPy the type bfloat16, which safetensors then finds by its name.
import ml_dtypes  # noqa: F401
import numpy as np
from safetensors import SafetensorError, safe_open

from glober_jax.errors import UserError


def read_tensors(file: Path, prefix: str = "") -> dict[str, np.ndarray]:
    """The tensors of a file by name, as they are stored.

    Where some names begin with `prefix`, the file holds other networks too: only those tensors are
    read, and the prefix is removed from their names. Otherwise all are.

    Raises:
      UserError: no such file, not a safetensors file or only a part of one, or numbers of a type
        that NumPy does not have.
    """
    try:
        with safe_open(file, framework="np") as stored:
            names = list(stored.keys())
            inside = [name for name in names if name.startswith(prefix)]
            return {
                name.removeprefix(prefix): _read(stored, name, file) for name in inside or names
            }
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else "cannot be read"
        raise UserError(f"{file}: {reason}; give the path of a .safetensors file") from error
    except SafetensorError as error:
        raise UserError(
            f"{file} is cut off, damaged or not a safetensors file ({error}); download it again, "
            "or the .safetensors version of the same weights"
        ) from error


def _read(stored: Any, name: str, file: Path) -> np.ndarray:
    try:
        return stored.get_tensor(name)
    except (AttributeError, TypeError) as error:
        # How the lookup of the type by its name fails.
        kind = stored.get_slice(name).get_dtype()
        raise UserError(
            f"{file}: {name} is stored as {kind}; use a file in float32, float16 or bfloat16"
        ) from error
