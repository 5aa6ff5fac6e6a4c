r"""Turns videos into a dataset that training reads.

python -m glober_jax.prepare video_folder --input=DIR --output=DIR \
    [--size --fit --fps --quality --min_frames --max_frames --test_fraction --class_folders \
     --clip --captions --workers --overwrite]
python -m glober_jax.prepare synthetic_sky --output=DIR \
    [--num_videos --num_test_videos --num_frames --size --seed --workers --overwrite]

`video_folder` takes any tree of video files (mp4, avi, mov, mkv, webm, gif) and of folders that
directly hold image frames (jpg, png, webp, bmp). Folders named train or sky_train and test,
sky_test or val at the top of it make the splits; without a test folder some of the videos, or the
last part of each where there are few, are held out. `synthetic_sky` draws sky time-lapses and
needs no input.

What cannot be used is listed at the end and in the output's data_card.json and data_card.md, with
the reason. A run that was interrupted goes on where it was; running a finished command again
changes nothing.

With `--clip=DIR`, a CLIP checkpoint in the format of transformers, every video is stored with its
caption and that caption's token embeddings: from `--captions=FILE`, a table of `path,caption` (CSV
with a header, or JSON lines), or else from the text file beside each video, clip.txt for clip.mp4.
"""

import dataclasses
import os
import types
import typing
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from glober_jax import cli
from glober_jax.data.building.card import Card
from glober_jax.data.building.output_folder import CARD, local_folder
from glober_jax.data.datasets.make import DATASETS, make_dataset
from glober_jax.errors import UserError
from glober_jax.interop.clip_text import ClipTextEncoder

_COMMON_FLAGS = ("output", "workers", "overwrite")
_MOST_LISTED = 20
_DEFINE = {
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
    str: flags.DEFINE_string,
}
_HELP = {
    "input": "Folder that holds the videos.",
    "size": "Side of the square frames, in pixels.",
    "fit": "crop (the centre, short side to --size) or letterbox (long side, black bars).",
    "fps": "Frame rate to come down to; default: as it is.",
    "quality": "Of the stored JPEG frames, 1 to 100.",
    "min_frames": "Shorter videos are rejected.",
    "max_frames": "Longer videos are cut into several records.",
    "test_fraction": "Part held out for testing where the input names no test split.",
    "class_folders": "The first folder (below train and test) is the video's class.",
    "captions": "Table of path,caption; default: a .txt beside each video.",
    "clip": "CLIP checkpoint folder; stores the captions' embeddings.",
    "lists": "Folder of the official split lists; default: in --input or beside it.",
    "split": "Which of the three official splits.",
    "num_videos": "Number of training videos.",
    "num_test_videos": "Number of test videos.",
    "num_frames": "Frames per video.",
    "seed": "Another seed, other skies.",
}


def prepare(dataset: str) -> None:
    """Makes the dataset of that name as the flags say."""
    options = DATASETS[dataset].options(**_given(dataset))
    output = local_folder(flags.FLAGS.output)
    card = make_dataset(
        options,
        output,
        overwrite=flags.FLAGS.overwrite,
        workers=flags.FLAGS.workers or len(os.sched_getaffinity(0)),
        load_encoder=ClipTextEncoder,
    )
    if card is None:
        print(f"already prepared: {output} (to make it again, pass --overwrite)")
    else:
        _report(output, card)


def _report(output: Path, card: Card) -> None:
    for label, entries, detail in (
        ("damaged, used as far as they go", card.warnings, "warning"),
        ("rejected", card.rejected, "reason"),
    ):
        if entries:
            print(f"{label}: {len(entries)}")
        for entry in entries[:_MOST_LISTED]:
            print(f"  {entry['video']}: {entry[detail]}")
        if len(entries) > _MOST_LISTED:
            print(f"  ... and {len(entries) - _MOST_LISTED} more, in {output / CARD}")
    for notice in card.notices:
        print(f"note: {notice}")
    print(f"accepted: {card.accepted} videos; {card.split}")
    for name, facts in card.splits.items():
        print(f"{name}: {facts.videos} videos, {facts.records} records, {facts.frames} frames")
    print(f"dataset written to {output} (fingerprint {card.fingerprint})")


def _options_of(dataset: str) -> dict[str, type]:
    """The flags of a dataset with their types."""
    kind = DATASETS[dataset].options
    hints = typing.get_type_hints(kind)
    return {field.name: _plain_type(hints[field.name]) for field in dataclasses.fields(kind)}


def _plain_type(hint: object) -> type:
    """The type of a flag's value: of `int | None` it is int, of a choice of words str."""
    if isinstance(hint, types.UnionType):
        (hint,) = (part for part in typing.get_args(hint) if part is not type(None))
    return str if typing.get_origin(hint) is typing.Literal else hint


def _given(dataset: str) -> dict[str, object]:
    """The values that were passed; refuses flags that belong to another dataset."""
    own = _options_of(dataset)
    every = {name for other in DATASETS for name in _options_of(other)}
    stray = sorted(name for name in every - set(own) if flags.FLAGS[name].present)
    if stray:
        raise UserError(
            f"--{stray[0]} does not apply to {dataset}, which takes: "
            + ", ".join(f"--{name}" for name in (*own, *_COMMON_FLAGS))
        )
    for name in ("input", "output"):
        if name in (*own, "output") and not flags.FLAGS[name].value:
            raise UserError(f"{dataset} needs --{name}=DIR")
    return {name: flags.FLAGS[name].value for name in own if flags.FLAGS[name].present}


def _define_flags() -> None:
    flags.DEFINE_string("output", None, "Folder the dataset is written to.")
    flags.DEFINE_integer("workers", 0, "Processes to work with; default: one per core.", 0)
    flags.DEFINE_bool("overwrite", False, "Replace a different dataset in --output.")
    users: dict[str, list[str]] = {}
    for dataset in DATASETS:
        for name in _options_of(dataset):
            users.setdefault(name, []).append(dataset)
    for name, datasets in users.items():
        define = _DEFINE[_options_of(datasets[0])[name]]
        where = "" if len(datasets) > 1 else f" ({datasets[0]})"
        define(name, None, f"{_HELP[name]}{where}{_defaults(name, datasets)}")


def _defaults(name: str, datasets: Sequence[str]) -> str:
    """ " Default: 64; 256 for ..." of a flag, "" where it has none worth telling."""
    by_value: dict[object, list[str]] = {}
    for dataset in datasets:
        value = getattr(DATASETS[dataset].options, name, None)
        by_value.setdefault(value, []).append(dataset)
    if set(by_value) <= {None, False}:
        return ""
    shown = [f"{value} for {', '.join(users)}" for value, users in by_value.items()]
    return " Default: " + ("; ".join(shown) if len(shown) > 1 else str(next(iter(by_value))))


def main(arguments: Sequence[str]) -> None:
    """Runs the sub-command named by the one positional argument."""
    if len(arguments) != 1 or arguments[0] not in DATASETS:
        given = f", not {' '.join(arguments)!r}" if arguments else ""
        raise UserError(
            f"say what to prepare, {' or '.join(DATASETS)}{given}: "
            "python -m glober_jax.prepare synthetic_sky --output=DIR (see --help)"
        )
    prepare(arguments[0])


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
