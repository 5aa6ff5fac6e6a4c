"""The folder a dataset is prepared into: finished or absent, never half written.

Everything is written to a hidden folder beside the result and renamed when complete, so neither an
interrupted run nor a failed `--overwrite` leaves a broken dataset to be found. `prepare.json` in
the folder says what was asked for and what came of it.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from glober_jax.errors import UserError

MANIFEST = "prepare.json"
_STAGING_PREFIX = ".prepare-"

Argument = bool | int | float | str | None


@dataclass(frozen=True)
class Preparation:
    """What was asked for: the dataset's name and every argument that shapes its content."""

    dataset: str
    arguments: Mapping[str, Argument]


def local_folder(output: str) -> Path:
    """The absolute path of a folder on this machine; raises UserError for the likes of gs://."""
    if "://" in output:
        raise UserError(
            f"{output} is not a folder on this machine: datasets are written to and read from "
            "local or mounted folders; copy the files, or mount the bucket"
        )
    return Path(output).absolute()


def dataset_folders(output: Path) -> list[Path]:
    """The version folders of the complete TFDS datasets directly inside `output`, sorted."""
    found = (info.parent for info in output.glob("*/*/dataset_info.json"))
    return sorted(path for path in found if not path.parent.name.startswith("."))


def is_prepared(output: Path, wanted: Preparation, *, overwrite: bool) -> bool:
    """Whether `output` already holds what is wanted.

    Returns:
      True if the same preparation has been finished there; False if it has to be made.

    Raises:
      UserError: the folder holds something else, and `overwrite` is off or would not cover it.
    """
    manifest = _read_manifest(output)
    stored = {path.parent.name for path in dataset_folders(output)}
    foreign = stored - {wanted.dataset, manifest.get("dataset")}
    if foreign:
        raise UserError(
            f"{output} already holds the dataset {', '.join(sorted(foreign))}, which this command "
            "did not write: choose another --output"
        )
    if wanted.dataset not in stored and (output / wanted.dataset).exists():
        raise UserError(
            f"{output / wanted.dataset} is in the way and is no dataset: choose another --output"
        )
    if overwrite or not stored:
        return False
    differences = _differences(manifest, wanted)
    if differences:
        raise UserError(
            f"{output} already holds another dataset ({differences}): choose another --output, or "
            "pass --overwrite to replace it"
        )
    return True


def make_output_folder(output: Path) -> None:
    """Creates `output` and clears what an interrupted run left there.

    Raises:
      UserError: the folder cannot be created or written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        for leftover in output.glob(f"{_STAGING_PREFIX}*"):
            shutil.rmtree(leftover)
        probe = tempfile.mkdtemp(prefix=_STAGING_PREFIX, dir=output)
        os.rmdir(probe)
    except OSError as error:
        raise UserError(
            f"cannot write to --output={output}: {error.strerror or error}; choose a folder you "
            "may write to"
        ) from error


@contextmanager
def staging_folder(output: Path) -> Iterator[Path]:
    """A hidden folder inside `output` to write into; removed on the way out, whatever happens."""
    staging = Path(tempfile.mkdtemp(prefix=_STAGING_PREFIX, dir=output))
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def publish(
    staging: Path, output: Path, preparation: Preparation, report: Mapping[str, object]
) -> None:
    """Moves the finished dataset from `staging` into `output`, in place of an earlier one."""
    replaceable = {_read_manifest(output).get("dataset"), preparation.dataset}
    (output / MANIFEST).unlink(missing_ok=True)
    # Only what is a dataset is ever deleted, whatever else goes by the same name.
    for name in {folder.parent.name for folder in dataset_folders(output)} & replaceable:
        shutil.rmtree(output / name)
    (staging / preparation.dataset).rename(output / preparation.dataset)
    content = {
        "dataset": preparation.dataset,
        "arguments": dict(preparation.arguments),
        "report": dict(report),
    }
    draft = staging / MANIFEST
    draft.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.rename(output / MANIFEST)


def _read_manifest(output: Path) -> dict:
    try:
        return json.loads((output / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return {}


def _differences(manifest: dict, wanted: Preparation) -> str:
    """Names what differs between a stored and a wanted preparation; empty if nothing does."""
    if not manifest:
        return f"its {MANIFEST} is missing"
    if manifest.get("dataset") != wanted.dataset:
        return f"{manifest.get('dataset')}, not {wanted.dataset}"
    stored = manifest.get("arguments", {})
    names = sorted(stored.keys() | wanted.arguments.keys())
    return ", ".join(
        f"--{name} was {stored.get(name)}, now {wanted.arguments.get(name)}"
        for name in names
        if stored.get(name) != wanted.arguments.get(name)
    )
