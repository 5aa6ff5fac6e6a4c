"""The official lists of UCF-101: which classes there are, which videos are for training.

    classInd.txt        1 ApplyEyeMakeup
    trainlist01.txt     ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1
    testlist01.txt      ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi

Source: https://www.crcv.ucf.edu/data/UCF101.php.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from glober_jax.errors import UserError

_CLASSES = "classInd.txt"


@dataclass(frozen=True)
class OfficialLists:
    """What the lists of one split say.

    Attributes:
      folder: where they lie.
      train, test: names of the two files.
      class_names: all classes, by label.
      splits: "train" or "test" by a video's name without suffix, in lower case.
    """

    folder: Path
    train: str
    test: str
    class_names: tuple[str, ...]
    splits: dict[str, str]


def find_lists(places: Sequence[Path], split: int) -> OfficialLists | None:
    """The lists of split 1, 2 or 3 in the first of `places` that has them; None without.

    Raises:
      UserError: one of the three files is missing or damaged.
    """
    train, test = (f"{name}list{split:02d}.txt" for name in ("train", "test"))
    below = (".", "ucfTrainTestlist", "UCF101TrainTestSplits-RecognitionTask/ucfTrainTestlist")
    folders = [place / name for place in places for name in below]
    folder = next((folder for folder in folders if (folder / train).is_file()), None)
    if folder is None:
        return None
    classes = {int(number): name for number, name, *_ in _lines(folder / _CLASSES, r"\d+ \S+")}
    if sorted(classes) != list(range(1, len(classes) + 1)):
        raise UserError(f"{folder / _CLASSES} does not number its classes 1, 2, 3, ...")
    splits = {
        PurePosixPath(video).stem.lower(): name
        for name, file in (("train", train), ("test", test))
        for video, *_ in _lines(folder / file, r"\S+( \d+)?")
    }
    names = tuple(classes[number] for number in sorted(classes))
    return OfficialLists(folder, train, test, names, splits)


def _lines(file: Path, form: str) -> Iterator[list[str]]:
    """The words of each line that is not empty."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise UserError(
            f"{file} cannot be read: {reason}; the lists of UCF-101 are {_CLASSES}, trainlist and "
            "testlist, all in one folder"
        ) from error
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if not re.fullmatch(form, " ".join(words)):
            raise UserError(f"{file}, line {number}, is no line of UCF-101's lists: {line.strip()}")
        yield words
