"""The folder a dataset is prepared into: finished or absent, never half written.

Everything is written to a hidden folder, named after the arguments so that the same command finds
it again, and moved when complete. `data_card.json` and `data_card.md` hold arguments and result.
"""

import errno
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from etils import epath

from glober_jax.alone import alone_in
from glober_jax.data.files import DRAFT
from glober_jax.errors import Unfinished, UserError

CARD = "data_card.json"
# The findings of `prepare doctor`.
REPORT = "doctor.json"
# Of the format. The first had whole videos as records.
VERSION = "2.0.0"
_CARD_FOR_PEOPLE = "data_card.md"
_STAGING_PREFIX = ".prepare-"


def dataset_folders(output: epath.Path) -> list[epath.Path]:
    """The version folders of the complete TFDS datasets directly inside `output`, sorted."""
    found = (info.parent for info in output.glob("*/*/dataset_info.json"))
    return sorted(path for path in found if not path.parent.name.startswith("."))


@dataclass(frozen=True)
class OutputFolder:
    """Where a dataset goes; `arguments` are all that shape it, `command` makes it."""

    path: epath.Path
    dataset: str
    arguments: Mapping[str, object]
    command: str

    def is_finished(self, *, overwrite: bool) -> bool:
        """Whether the dataset is here and not to be overwritten; UserError where another one is."""
        stored = self._stored()
        if foreign := stored - {self.dataset, self._made().get("dataset")}:
            raise UserError(
                f"{self.path} already holds the dataset {', '.join(sorted(foreign))}, which this "
                "command did not write: choose another --output"
            )
        if self.dataset not in stored and (self.path / self.dataset).exists():
            raise UserError(
                f"{self.path / self.dataset} is in the way and is no dataset: choose another "
                "--output"
            )
        if overwrite or not stored:
            return False
        if differences := self._differences():
            raise UserError(
                f"{self.path} already holds another dataset ({differences}): choose another "
                "--output, or pass --overwrite to replace it"
            )
        if not (self.path / self.dataset / VERSION).exists():
            raise UserError(
                f"{self.path} was prepared by an earlier version of this command, whose files are "
                "not read any more: pass --overwrite to prepare it again"
            )
        return True

    @contextmanager
    def staging(self, *, shared: bool = False) -> Iterator[epath.Path]:
        """A hidden folder to write into, with what an interrupted run of the same has left there.

        Deleted at the end, unless the same command could continue from it, or it is `shared` with
        processes that make the same. UserError: not writable, or another command writes to it.
        """
        key = json.dumps([VERSION, self.dataset, dict(self.arguments)])
        name = _STAGING_PREFIX + hashlib.sha256(key.encode()).hexdigest()[:16]
        folder = self.path / name
        with self._writable():
            self.path.mkdir(parents=True, exist_ok=True)
            if shared:
                folder.mkdir(exist_ok=True)
        if shared:
            yield folder
            return
        with alone_in(self.path):
            with self._writable():
                for leftover in self.path.glob(f"{_STAGING_PREFIX}*"):
                    if leftover.name != name:
                        leftover.rmtree()
                folder.mkdir(exist_ok=True)
                for pattern in ("shards", "*/*"):
                    for draft in folder.glob(f"{pattern}/{DRAFT}*"):
                        draft.unlink()
                (folder / DRAFT).write_bytes(b"")
                (folder / DRAFT).unlink()
            try:
                yield folder
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                raise Unfinished(
                    f"the disk of --output={self.path} is full: make room and run the same command "
                    "again, finished parts are kept"
                ) from error
            except Unfinished:
                raise
            except UserError:
                # The inputs or arguments are at fault: nothing to continue from.
                folder.rmtree(missing_ok=True)
                raise
            folder.rmtree(missing_ok=True)

    def publish(self, staging: epath.Path, facts: Mapping[str, object], for_people: str) -> None:
        """Moves the finished dataset and its card here, in place of an earlier one.

        The card holds the arguments and these `facts`; `for_people` is the same in Markdown.
        """
        replaceable = {self._made().get("dataset"), self.dataset}
        for outdated in (CARD, _CARD_FOR_PEOPLE, REPORT):
            (self.path / outdated).unlink(missing_ok=True)
        # Only what is a dataset is ever deleted, whatever else goes by the same name.
        for old in self._stored() & replaceable:
            (self.path / old).rmtree()
        made = {"dataset": self.dataset, "command": self.command, "arguments": dict(self.arguments)}
        text = json.dumps(made | dict(facts), indent=2, ensure_ascii=False) + "\n"
        for name, content in ((_CARD_FOR_PEOPLE, for_people), (CARD, text)):
            (staging / name).write_bytes(content.encode())
        # The dataset last: without its card it would be taken for somebody else's.
        for name in (_CARD_FOR_PEOPLE, CARD, self.dataset):
            (staging / name).rename(self.path / name)

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"cannot write to --output={self.path}: {error.strerror or error}; choose a folder "
                "you may write to"
            ) from error

    def _stored(self) -> set[str]:
        """Names of the datasets that are here."""
        return {folder.parent.name for folder in dataset_folders(self.path)}

    def _made(self) -> dict:
        """The card of the dataset that is here; empty without one."""
        try:
            return json.loads((self.path / CARD).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
            return {}

    def _differences(self) -> str:
        """What differs between the stored and the wanted dataset; empty if nothing does."""
        made = self._made()
        if not made:
            return f"its {CARD} is missing"
        if made.get("dataset") != self.dataset:
            return f"{made.get('dataset')}, not {self.dataset}"
        stored, wanted = made.get("arguments", {}), self.arguments
        return ", ".join(
            f"--{name} was {stored.get(name)}, now {wanted.get(name)}"
            for name in sorted(stored.keys() | wanted.keys())
            if stored.get(name) != wanted.get(name)
        )
