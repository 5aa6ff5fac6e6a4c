"""The folder a dataset is prepared into: finished or absent, never half written.

Everything is written to a hidden folder beside the result and renamed when complete, so neither an
interrupted run nor a failed `--overwrite` leaves a broken dataset to be found. The hidden folder
is named after what goes into it; the same command finds it again and goes on. `data_card.json` in
the folder says what was asked for and what came of it, `data_card.md` says it to people.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from glober_jax.alone import alone_in
from glober_jax.data.building.pool import Unfinished
from glober_jax.errors import UserError

CARD = "data_card.json"
CARD_FOR_PEOPLE = "data_card.md"
# What `prepare doctor` found.
REPORT = "doctor.json"
# Of the format. The first had whole videos as records.
VERSION = "2.0.0"
_STAGING_PREFIX = ".prepare-"

Argument = bool | int | float | str | None


@dataclass(frozen=True)
class Preparation:
    """What was asked for.

    Attributes:
      dataset: its name.
      arguments: every argument that shapes its content.
      command: the command line that makes it.
    """

    dataset: str
    arguments: Mapping[str, Argument]
    command: str


def local_folder(output: str) -> Path:
    """The absolute path of a folder on this machine; raises UserError for the likes of gs://."""
    if "://" in output:
        raise UserError(
            f"{output} is not a folder on this machine: datasets are written to local or mounted "
            "folders; prepare one here and copy it there"
        )
    return Path(output).absolute()


def dataset_folders(output: Path) -> list[Path]:
    """The version folders of the complete TFDS datasets directly inside `output`, sorted."""
    found = (info.parent for info in output.glob("*/*/dataset_info.json"))
    return sorted(path for path in found if not path.parent.name.startswith("."))


@dataclass(frozen=True)
class OutputFolder:
    """Where a wanted dataset goes."""

    path: Path
    wanted: Preparation

    @property
    def holds_wanted(self) -> bool:
        """Whether the wanted dataset is here, finished, whatever else may be."""
        version = self.path / self.wanted.dataset / VERSION
        return version in dataset_folders(self.path) and not _differences(self._made(), self.wanted)

    def is_finished(self, *, overwrite: bool) -> bool:
        """Whether the same preparation has been finished here.

        Raises:
          UserError: the folder holds something else, and `overwrite` is off or would not cover it.
        """
        made = self._made()
        name = self.wanted.dataset
        stored = {folder.parent.name for folder in dataset_folders(self.path)}
        foreign = stored - {name, made.get("dataset")}
        if foreign:
            raise UserError(
                f"{self.path} already holds the dataset {', '.join(sorted(foreign))}, which this "
                "command did not write: choose another --output"
            )
        if name not in stored and (self.path / name).exists():
            raise UserError(
                f"{self.path / name} is in the way and is no dataset: choose another --output"
            )
        if overwrite or not stored:
            return False
        if differences := _differences(made, self.wanted):
            raise UserError(
                f"{self.path} already holds another dataset ({differences}): choose another "
                "--output, or pass --overwrite to replace it"
            )
        if not (self.path / name / VERSION).exists():
            raise UserError(
                f"{self.path} was prepared by an earlier version of this command, whose files are "
                "not read any more: pass --overwrite to prepare it again"
            )
        return True

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A hidden folder to write into, with what an interrupted run of the same has left there.

        It is removed on the way out, unless what happened can be gone on from.

        Raises:
          UserError: the folder cannot be created or written, or another command writes to it.
        """
        key = json.dumps([VERSION, self.wanted.dataset, dict(self.wanted.arguments)])
        name = _STAGING_PREFIX + hashlib.sha256(key.encode()).hexdigest()[:16]
        folder = self.path / name
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._cannot_write(error) from error
        with alone_in(self.path):
            try:
                for leftover in self.path.glob(f"{_STAGING_PREFIX}*"):
                    if leftover.name != name:
                        shutil.rmtree(leftover)
                folder.mkdir(exist_ok=True)
                for draft in folder.glob("shards/draft-*"):
                    draft.unlink()
                tempfile.TemporaryFile(dir=folder).close()
            except OSError as error:
                raise self._cannot_write(error) from error
            try:
                yield folder
            except Unfinished:
                raise
            except UserError:
                # The inputs or arguments are at fault: nothing to go on from.
                shutil.rmtree(folder, ignore_errors=True)
                raise
            shutil.rmtree(folder, ignore_errors=True)

    def _cannot_write(self, error: OSError) -> UserError:
        return UserError(
            f"cannot write to --output={self.path}: {error.strerror or error}; choose a folder you "
            "may write to"
        )

    def publish(self, staging: Path, facts: Mapping[str, object], for_people: str) -> None:
        """Moves the finished dataset from `staging` here, in place of an earlier one.

        Its card holds what was asked for and these `facts`; `for_people` is the card in Markdown.
        """
        name = self.wanted.dataset
        replaceable = {self._made().get("dataset"), name}
        for outdated in (CARD, REPORT):
            (self.path / outdated).unlink(missing_ok=True)
        # Only what is a dataset is ever deleted, whatever else goes by the same name.
        stored = {folder.parent.name for folder in dataset_folders(self.path)}
        for old in stored & replaceable:
            shutil.rmtree(self.path / old)
        content = {
            "dataset": name,
            "command": self.wanted.command,
            "arguments": dict(self.wanted.arguments),
            **facts,
        }
        self._write(staging, CARD_FOR_PEOPLE, for_people)
        self._write(staging, CARD, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        # Last: a dataset without its card would be taken for somebody else's.
        (staging / name).rename(self.path / name)

    def _write(self, staging: Path, name: str, text: str) -> None:
        (staging / name).write_text(text, encoding="utf-8")
        (staging / name).rename(self.path / name)

    def _made(self) -> dict:
        """The card of the dataset that is here; empty without one."""
        try:
            return json.loads((self.path / CARD).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
            return {}


def _differences(made: dict, wanted: Preparation) -> str:
    """Names what differs between a stored and a wanted preparation; empty if nothing does."""
    if not made:
        return f"its {CARD} is missing"
    if made.get("dataset") != wanted.dataset:
        return f"{made.get('dataset')}, not {wanted.dataset}"
    stored = made.get("arguments", {})
    names = sorted(stored.keys() | wanted.arguments.keys())
    return ", ".join(
        f"--{name} was {stored.get(name)}, now {wanted.arguments.get(name)}"
        for name in names
        if stored.get(name) != wanted.arguments.get(name)
    )
