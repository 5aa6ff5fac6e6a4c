r"""Turns videos into a data set for training; checks one; encodes one into latents.

python -m glober_jax.prepare sky_timelapse|ucf101|taichi_hd|webvid|video_folder \
    --input=DIR --output=DIR [flags]
python -m glober_jax.prepare synthetic_sky --output=DIR [flags]
python -m glober_jax.prepare doctor --input=DIR [--min_frames --workers]
python -m glober_jax.prepare latents --input=DIR --workdir=DIR --output=DIR [--overwrite]

The first four accept all usual layouts of those data sets (docs/data.md). `video_folder` accepts
any tree of video files (mp4, avi, mov, mkv, webm, gif) and folders of image frames (jpg, png, webp,
bmp). Top folders named train or sky_train and test, sky_test or val are the splits; without a test
folder some of the videos, or the last part of each if there are few, are held out. `synthetic_sky`
draws sky time-lapses and needs no input.

Rejected videos are listed with the reason at the end and in data_card.json and data_card.md of the
output. An interrupted run resumes after its finished shards; repeating a finished command changes
nothing. --runner=beam, with Beam's own flags in --beam_options, replaces the --workers processes;
the result is the same (docs/data.md).

`webvid` stores the caption of every video, `video_folder` with --captions or --clip: from
--captions=FILE, a table of `path,caption` (CSV with a header, or JSON lines), or from the text file
beside each video (clip.txt for clip.mp4). --clip=DIR, a CLIP checkpoint in the format of
transformers, also stores the captions' token embeddings.

`doctor` reads an earlier --output and lists videos that are damaged, too short, or in both splits,
with details in doctor.json; its status is 0 if there are none, else 1. `latents` encodes the
training videos of an earlier --output with the frame codec of a workdir, which saves that work in
every training step of the autoencoder and the generator.
"""

import dataclasses
import json
import os
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from absl import flags
from etils import epath

from glober_jax import cli
from glober_jax.data.building.output_folder import CARD, REPORT, local_folder
from glober_jax.data.datasets.make import DATASETS, Options, make_dataset
from glober_jax.data.doctor import DAMAGE, HEADINGS, Diagnosis, DoctorOptions, examine
from glober_jax.errors import UserError
from glober_jax.interop.clip_text import ClipTextEncoder

_MOST_LISTED = 20
_DEFINE = {
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
    str: flags.DEFINE_string,
}
_HELP = {
    "input": "Folder that holds the videos; for doctor and latents an earlier --output.",
    "workdir": "Workdir with a trained or converted codec.",
    "size": "Side of the square frames, in pixels.",
    "fit": "crop (the centre, short side to --size) or letterbox (long side, black bars).",
    "fps": "Highest frame rate; default: the input's.",
    "quality": "JPEG quality of stored frames, 1 to 100.",
    "min_frames": "Shorter videos are rejected; doctor lists them.",
    "max_frames": "Longer videos are cut into several.",
    "test_fraction": "Fraction held out for testing where the input has no test split.",
    "class_folders": "The first folder (below train and test) is the video's class.",
    "captions": "Table of path,caption; default: a .txt beside each video.",
    "clip": "CLIP checkpoint folder; stores the captions' embeddings.",
    "lists": "Folder of the official split lists; default: in --input or beside it.",
    "split": "Which of the three official splits.",
    "num_videos": "Number of training videos.",
    "num_test_videos": "Number of test videos.",
    "num_frames": "Frames per video.",
    "frame_step": "Draws every n-th frame of a sky.",
    "seed": "Of the skies.",
}


@dataclass(frozen=True, kw_only=True)
class LatentsOptions:
    """The data set to encode, and the workdir of the codec."""

    input: str
    workdir: str


def prepare(options: Options) -> None:
    """Prepares the data set of the options' class."""
    output, use_beam = local_folder(flags.FLAGS.output), flags.FLAGS.runner == "beam"
    if flags.FLAGS.beam_options and not use_beam:
        raise UserError("--beam_options needs --runner=beam")
    card = make_dataset(
        options,
        output,
        overwrite=flags.FLAGS.overwrite,
        workers=_workers(),
        beam_options=flags.FLAGS.beam_options if use_beam else None,
        load_encoder=ClipTextEncoder,
    )
    if card is None:
        print(f"already prepared: {output} (to make it again, pass --overwrite)")
    else:
        _report(output, card)


def doctor(options: DoctorOptions) -> None:
    """Checks a prepared dataset; raises UserError if anything is wrong with it."""
    folder = local_folder(options.input)
    diagnosis = examine(folder, min_frames=options.min_frames, workers=_workers())
    report = json.dumps(diagnosis.to_dict(), indent=2, ensure_ascii=False) + "\n"
    try:
        (folder / REPORT).write_text(report, "utf-8")
    except OSError as error:
        print(f"the full report cannot be written to {folder / REPORT}: {error.strerror}")
    for kind, heading in HEADINGS.items():
        found = [str(finding) for finding in diagnosis.findings if finding.kind == kind]
        _print_list(heading, found, folder / REPORT)
    facts = f"{diagnosis.videos} videos, {diagnosis.frames} frames read"
    if not diagnosis.findings:
        print(f"healthy: {facts}")
        return
    print(facts)
    count = len(diagnosis.findings)
    found = f"{count} finding{'s' if count > 1 else ''} in {folder}"
    raise UserError(f"{found}: {_advice(diagnosis)}")


def latents(options: LatentsOptions) -> None:
    """Encodes a prepared dataset with the codec of a workdir."""
    # Imports JAX, which the other sub-commands do not need.
    from glober_jax.experiment.prepare_latents import prepare_latents
    from glober_jax.parallel.multihost import start_alone

    start_alone("prepare latents")
    output = local_folder(flags.FLAGS.output)
    workdir = epath.Path(options.workdir)
    if prepare_latents(options.input, workdir, output, overwrite=flags.FLAGS.overwrite):
        print(f"latents written to {output}; train on them with")
        print(f"  --config.data.cache_latents=True --config.data.latents_dir={output}")
    else:
        print(f"already prepared: {output} (to make it again, pass --overwrite)")


@dataclass(frozen=True)
class Command:
    """A sub-command: `run(options)`, whose fields are flags, and the `shared` flags it takes."""

    run: Callable[[Any], None]
    options: type
    shared: tuple[str, ...] = ("output", "workers", "overwrite", "runner", "beam_options")


COMMANDS = {name: Command(prepare, kind.options) for name, kind in DATASETS.items()} | {
    "doctor": Command(doctor, DoctorOptions, shared=("workers",)),
    "latents": Command(latents, LatentsOptions, shared=("output", "overwrite")),
}


def _workers() -> int:
    # macOS has no CPU affinity.
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count()
    return flags.FLAGS.workers or cores or 1


def _report(output: Path, card: Mapping[str, Any]) -> None:
    for label, entries, detail in (
        ("damaged, used as far as they go", card["warnings"], "warning"),
        ("rejected", card["rejected"], "reason"),
    ):
        lines = [f"{entry['video']}: {entry[detail]}" for entry in entries]
        _print_list(label, lines, output / CARD)
    for notice in card["notices"]:
        print(f"note: {notice}")
    print(f"accepted: {card['accepted']} videos; {card['split']}")
    for name, facts in card["splits"].items():
        print(f"{name}: {facts['videos']} videos, {facts['frames']} frames")
    print(f"dataset written to {output} (fingerprint {card['fingerprint']})")


def _advice(diagnosis: Diagnosis) -> str:
    kinds = {finding.kind for finding in diagnosis.findings}
    command = diagnosis.command or "the prepare command that made it,"
    if not kinds & set(DAMAGE):
        return (
            f"nothing is damaged; to leave those clips out, change the videos or flags of {command}"
        )
    skip = " (or train without those videos: --config.data.max_damaged=FRACTION)"
    skippable = kinds & {"shard", "record", "frames"}
    return f"copy it again, or run {command} --overwrite" + (skip if skippable else "")


def _print_list(label: str, lines: Sequence[str], whole: Path) -> None:
    """The first lines; the file `whole` has all."""
    if lines:
        print(f"{label}: {len(lines)}")
    for line in lines[:_MOST_LISTED]:
        print(f"  {line}")
    if len(lines) > _MOST_LISTED:
        print(f"  ... and {len(lines) - _MOST_LISTED} more, in {whole}")


def _options_of(command: str) -> dict[str, type]:
    """The types of a sub-command's own flags."""
    kind = COMMANDS[command].options
    hints = typing.get_type_hints(kind)
    return {field.name: _plain_type(hints[field.name]) for field in dataclasses.fields(kind)}


def _plain_type(hint: object) -> type:
    """The type of a flag's value: int of `int | None`, str of a Literal."""
    if isinstance(hint, types.UnionType):
        (hint,) = (part for part in typing.get_args(hint) if part is not type(None))
    return str if typing.get_origin(hint) is typing.Literal else hint


def _given(command: str) -> dict[str, object]:
    """The values of own flags that were given; refuses flags of other sub-commands."""
    own, shared = _options_of(command), COMMANDS[command].shared
    every = {name for other in COMMANDS for name in (*_options_of(other), *COMMANDS[other].shared)}
    stray = sorted(name for name in every.difference(own, shared) if flags.FLAGS[name].present)
    if stray:
        raise UserError(
            f"--{stray[0]} does not apply to {command}, which takes: "
            + ", ".join(f"--{name}" for name in (*own, *shared))
        )
    for name in ("input", "workdir", "output"):
        if name in (*own, *shared) and not flags.FLAGS[name].value:
            raise UserError(f"{command} needs --{name}=DIR")
    return {name: flags.FLAGS[name].value for name in own if flags.FLAGS[name].present}


def _define_flags() -> None:
    flags.DEFINE_string("output", None, "Folder the dataset is written to.")
    flags.DEFINE_integer("workers", 0, "Number of processes; default: one per core.", 0)
    flags.DEFINE_bool("overwrite", False, "Replace a different dataset in --output.")
    flags.DEFINE_enum("runner", "local", ["local", "beam"], "Local processes or Apache Beam.")
    flags.DEFINE_string("beam_options", "", "Flags of Apache Beam: '--runner=FlinkRunner ...'.")
    for name, text in _HELP.items():
        commands = [command for command in COMMANDS if name in _options_of(command)]
        values = dict.fromkeys(getattr(COMMANDS[c].options, name, None) for c in commands)
        if len(commands) == 1:
            text += f" ({commands[0]})"
        if not set(values) <= {None, False}:
            by_command = ", by sub-command" if len(values) > 1 else ""
            text += f" Default: {' or '.join(map(str, values))}{by_command}."
        _DEFINE[_options_of(commands[0])[name]](name, None, text)


def main(arguments: Sequence[str]) -> None:
    """Runs the sub-command named by the one positional argument."""
    name = cli.one_of(COMMANDS, arguments, "prepare")
    COMMANDS[name].run(COMMANDS[name].options(**_given(name)))


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
