r"""Turns videos into a dataset that training reads; checks one; encodes one (docs/data.md).

python -m glober_jax.prepare sky_timelapse|ucf101|taichi_hd|webvid|video_folder \
    --input=DIR --output=DIR [flags]
python -m glober_jax.prepare synthetic_sky --output=DIR [flags]
python -m glober_jax.prepare doctor --input=DIR [--min_frames --workers]
python -m glober_jax.prepare latents --input=DIR --workdir=DIR --output=DIR [flags]

`video_folder` takes any tree of video files and of folders that directly hold image frames, the
other ones their data sets in all usual layouts; `synthetic_sky` draws sky time-lapses. Inputs that
cannot be used are listed at the end and in the output's data_card.json and data_card.md, with the
reason. A run that was interrupted keeps the shards it has finished.

`doctor` reads all of an earlier --output, and lists in doctor.json there what is damaged, too short
or in both splits. Its status is 0 if nothing is wrong and 1 otherwise. `latents` encodes the
training videos of an earlier --output with the frame codec of a workdir.
"""

import dataclasses
import json
import os
import re
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from absl import flags
from etils import epath

from glober_jax import cli
from glober_jax.data.building.output import CARD, REPORT
from glober_jax.data.datasets.make import DATASETS, Options, make_dataset
from glober_jax.data.doctor import DAMAGE, HEADINGS, examine
from glober_jax.data.files import bucket_errors, data_path
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
    "input": "Folder with the videos; for doctor and latents an earlier --output.",
    "workdir": "Where the codec is trained, or converted to.",
    "shards": "I/N encodes the I-th of N shares, from 0; each on a machine of its own.",
    "size": "Side of the square frames, in pixels.",
    "fit": "crop (the centre, short side to --size) or letterbox (long side, black bars).",
    "fps": "Frame rate to come down to; default: as it is.",
    "quality": "Of the stored JPEG frames, 1 to 100.",
    "min_frames": "Shorter videos are rejected; doctor lists them.",
    "max_frames": "Longer videos are cut into several.",
    "test_fraction": "Part held out for testing where the input names no test split.",
    "class_folders": "The first folder (below train and test) is the video's class.",
    "captions": "Table of path,caption; default: a .txt beside each video.",
    "clip": "CLIP checkpoint folder; stores the captions' embeddings.",
    "lists": "Folder of the official split lists; default: in --input or beside it.",
    "split": "Which of the three official splits.",
    "num_videos": "Number of training videos.",
    "num_test_videos": "Number of test videos.",
    "num_frames": "Frames per video.",
    "frame_step": "Draws every n-th frame of a sky: 2 every second one.",
    "seed": "Another seed, other skies.",
}


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """The dataset, an earlier --output, and the shortest video that is no finding."""

    input: str
    min_frames: int = 16

    def __post_init__(self) -> None:
        if self.min_frames < 1:
            raise UserError(f"--min_frames must be at least 1, not {self.min_frames}")


@dataclass(frozen=True, kw_only=True)
class LatentsOptions:
    """What to encode, the workdir whose codec does it, and the share of this machine."""

    input: str
    workdir: str
    shards: str | None = None

    @property
    def share(self) -> tuple[int, int]:
        """(I, N) of --shards=I/N."""
        match = re.fullmatch(r"(\d+)/(\d+)", self.shards or "0/1")
        if match is None or not (share := (int(match[1]), int(match[2])))[0] < share[1]:
            raise UserError(f"--shards={self.shards} must be I/N with I from 0 to N - 1")
        return share


def prepare(options: Options) -> None:
    """Makes the dataset that the options, by their class, describe."""
    output, use_beam = data_path(flags.FLAGS.output), flags.FLAGS.runner == "beam"
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
        return
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


def doctor(options: DoctorOptions) -> None:
    """Checks a prepared dataset; raises UserError if anything is wrong with it."""
    folder = data_path(options.input)
    with bucket_errors(folder):
        diagnosis = examine(folder, min_frames=options.min_frames, workers=_workers())
    findings = diagnosis.findings
    report = {"healthy": not findings, **dataclasses.asdict(diagnosis)}
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    try:
        (folder / REPORT).write_bytes(text.encode())
    except OSError as error:
        print(f"the full report cannot be written to {folder / REPORT}: {error.strerror}")
    for kind, heading in HEADINGS.items():
        found = [str(finding) for finding in findings if finding.kind == kind]
        _print_list(heading, found, folder / REPORT)
    facts = f"{diagnosis.videos} videos, {diagnosis.frames} frames read"
    print(facts if findings else f"healthy: {facts}")
    if not findings:
        return
    kinds = {finding.kind for finding in findings}
    command = diagnosis.command or "the prepare command that made it,"
    if kinds & set(DAMAGE):
        advice = f"copy it again, or run {command} --overwrite"
        if kinds & {"shard", "record", "frames"}:
            advice += " (or train without those videos: --config.data.max_damaged=FRACTION)"
    else:
        advice = (
            f"nothing is damaged; to leave those clips out, change the videos or flags of {command}"
        )
    count = f"{len(findings)} finding{'s' if len(findings) > 1 else ''}"
    raise UserError(f"{count} in {folder}: {advice}")


def latents(options: LatentsOptions) -> None:
    """Encodes a prepared dataset with the codec of a workdir."""
    # The other sub-commands need no JAX, and start in a second.
    from glober_jax.experiment.prepare_latents import prepare_latents
    from glober_jax.parallel.multihost import end_together, start_processes

    output, share = data_path(flags.FLAGS.output), options.share
    workdir, overwrite = epath.Path(options.workdir), flags.FLAGS.overwrite
    start_processes()
    with end_together():
        made = prepare_latents(options.input, workdir, output, share=share, overwrite=overwrite)
    if made and share[1] > 1:
        print("share written; when all are, the same command without --shards completes them")
    elif made:
        print(f"latents written to {output}; train on them with")
        print(f"  --config.data.cache_latents=True --config.data.latents_dir={output}")
    else:
        print(f"already prepared: {output} (to make it again, pass --overwrite)")


class Command(NamedTuple):
    """A sub-command: what it runs, with options whose fields are flags, and which flags besides."""

    run: Callable[[Any], None]
    options: type
    shared: tuple[str, ...] = ("output", "workers", "overwrite", "runner", "beam_options")


COMMANDS = {name: Command(prepare, kind.options) for name, kind in DATASETS.items()} | {
    "doctor": Command(doctor, DoctorOptions, shared=("workers",)),
    "latents": Command(latents, LatentsOptions, shared=("output", "overwrite")),
}


def _workers() -> int:
    # macOS does not restrict processes to some cores.
    restricted = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if restricted else os.cpu_count()
    return flags.FLAGS.workers or cores or 1


def _print_list(label: str, lines: Sequence[str], whole: epath.Path) -> None:
    """The first lines; `whole` is where all of them are."""
    if lines:
        print(f"{label}: {len(lines)}")
    for line in lines[:_MOST_LISTED]:
        print(f"  {line}")
    if len(lines) > _MOST_LISTED:
        print(f"  ... and {len(lines) - _MOST_LISTED} more, in {whole}")


def _options_of(command: str) -> dict[str, type]:
    """The flags of a sub-command, but the shared ones, with their types."""
    kind = COMMANDS[command].options
    hints, found = typing.get_type_hints(kind), {}
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        if isinstance(hint, types.UnionType):
            # int | None
            (hint,) = (part for part in typing.get_args(hint) if part is not type(None))
        found[field.name] = str if typing.get_origin(hint) is typing.Literal else hint
    return found


def _given(command: str) -> dict[str, object]:
    """The values that were passed; refuses flags that belong to another sub-command."""
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
    flags.DEFINE_string("output", None, "Folder to write to, or an address: gs://BUCKET/DIR.")
    flags.DEFINE_integer("workers", 0, "Processes to work with; default: one per core.", 0)
    flags.DEFINE_bool("overwrite", False, "Replace a different dataset in --output.")
    flags.DEFINE_enum("runner", "local", ["local", "beam"], "Where the work is done.")
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
