r"""Turns videos into a dataset that training reads.

python -m glober_jax.prepare video_folder --input=DIR --output=DIR \
    [--size --fps --min_frames --max_frames --test_fraction --class_folders \
     --clip --captions --overwrite]
python -m glober_jax.prepare synthetic_sky --output=DIR \
    [--num_videos --num_test_videos --num_frames --size --seed --overwrite]

`video_folder` takes any tree of video files (mp4, avi, mov, mkv, webm, gif) and of folders that
directly hold image frames (jpg, png, webp, bmp). Folders named train or sky_train and test,
sky_test or val at the top of it make the splits; without a test folder some of the videos, or the
last part of each where there are few, are held out. What cannot be used is listed at the end and
in the output's prepare.json, with the reason. `synthetic_sky` draws sky time-lapses and needs no
input. Running a finished command again changes nothing.

With `--clip=DIR`, a CLIP checkpoint in the format of transformers, every video is stored with its
caption and that caption's token embeddings: from `--captions=FILE`, a table of `path,caption` (CSV
with a header, or JSON lines), or else from the text file beside each video, clip.txt for clip.mp4.
"""

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

from absl import flags

from glober_jax import cli
from glober_jax.data.building.output_folder import (
    MANIFEST,
    Preparation,
    is_prepared,
    local_folder,
    make_output_folder,
    publish,
    staging_folder,
)
from glober_jax.data.datasets.synthetic_sky import SyntheticSkyOptions, write_synthetic_sky
from glober_jax.data.datasets.video_folder import (
    VideoFolderOptions,
    list_inputs,
    write_video_folder,
)
from glober_jax.errors import UserError
from glober_jax.interop.clip_text import ClipTextEncoder
from glober_jax.progress import Progress

_COMMON_FLAGS = ("output", "overwrite")
_MOST_LISTED = 20

Report = dict[str, object]


def prepare_video_folder(
    options: VideoFolderOptions, output: Path, *, overwrite: bool = False
) -> bool:
    """Makes a dataset in `output` from a folder of videos.

    Returns:
      Whether anything was written: False if the same dataset is already there.

    Raises:
      UserError: the input is missing or unusable, or `output` is not writable or holds something
        else.
    """
    paths = {name: getattr(options, name) for name in ("input", "captions", "clip")}
    options = replace(
        options, **{name: path and os.path.abspath(path) for name, path in paths.items()}
    )
    wanted = Preparation("video_folder", asdict(options))
    if _is_done(wanted, output, overwrite):
        return False
    items, rejections = list_inputs(options)
    encoder = ClipTextEncoder(Path(options.clip)) if options.clip else None
    total = sum(item.num_bytes() for item in items)

    def write(folder: Path) -> Report:
        with Progress("decoding", total, unit="byte") as progress:
            return write_video_folder(options, items, rejections, folder, progress.advance, encoder)

    _make(wanted, output, write)
    return True


def prepare_synthetic_sky(
    options: SyntheticSkyOptions, output: Path, *, overwrite: bool = False
) -> bool:
    """Makes the synthetic-sky dataset in `output`; see `prepare_video_folder`."""
    wanted = Preparation("synthetic_sky", asdict(options))
    if _is_done(wanted, output, overwrite):
        return False
    total = options.num_videos + options.num_test_videos

    def write(folder: Path) -> Report:
        with Progress("drawing", total, unit="video") as progress:
            return write_synthetic_sky(options, folder, progress.advance)

    _make(wanted, output, write)
    return True


def _is_done(wanted: Preparation, output: Path, overwrite: bool) -> bool:
    done = is_prepared(output, wanted, overwrite=overwrite)
    if done:
        print(f"already prepared: {output} (to make it again, pass --overwrite)")
    return done


def _make(wanted: Preparation, output: Path, write: Callable[[Path], Report]) -> None:
    make_output_folder(output)
    try:
        with staging_folder(output) as staging:
            report = write(staging)
            publish(staging, output, wanted, report)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise UserError(f"the disk of --output={output} is full: make room, run again") from error
    _print_report(output, report)


def _print_report(output: Path, report: Report) -> None:
    for label, entries, detail in (
        ("damaged, used as far as they go", report.get("warnings", []), "warning"),
        ("rejected", report.get("rejected", []), "reason"),
    ):
        if entries:
            print(f"{label}: {len(entries)}")
        for entry in entries[:_MOST_LISTED]:
            print(f"  {entry['video']}: {entry[detail]}")
        if len(entries) > _MOST_LISTED:
            print(f"  ... and {len(entries) - _MOST_LISTED} more, in {output / MANIFEST}")
    if "split" in report:
        print(f"accepted: {report['accepted']} videos; {report['split']}")
    for name, counts in report["splits"].items():
        print(f"{name}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
    print(f"dataset written to {output}")


_COMMANDS = {
    "video_folder": (VideoFolderOptions, prepare_video_folder),
    "synthetic_sky": (SyntheticSkyOptions, prepare_synthetic_sky),
}


def _define_flags() -> None:
    defaults = {
        field.name: field.default
        for options_class, _ in _COMMANDS.values()
        for field in fields(options_class)
    }
    flags.DEFINE_string("output", None, "Folder the dataset is written to.")
    flags.DEFINE_bool("overwrite", False, "Replace a different dataset in --output.")
    flags.DEFINE_integer("size", defaults["size"], "Side of the square frames, in pixels.")
    for name, help_text in (
        ("min_frames", "video_folder: shorter videos are rejected."),
        ("max_frames", "video_folder: longer videos are cut into several records."),
        ("num_videos", "synthetic_sky: number of training videos."),
        ("num_test_videos", "synthetic_sky: number of test videos."),
        ("num_frames", "synthetic_sky: frames per video."),
        ("seed", "synthetic_sky: another seed, other skies."),
    ):
        flags.DEFINE_integer(name, defaults[name], help_text)
    for name, help_text in (
        ("input", "video_folder: folder that holds the videos."),
        ("clip", "video_folder: CLIP checkpoint folder; stores captions and their embeddings."),
        ("captions", "video_folder: table of path,caption; default: a .txt beside each video."),
    ):
        flags.DEFINE_string(name, None, help_text)
    flags.DEFINE_float(
        "fps", defaults["fps"], "video_folder: frame rate to come down to; default: as it is."
    )
    flags.DEFINE_float(
        "test_fraction",
        defaults["test_fraction"],
        "video_folder: part held out for testing where the input has no test folder.",
    )
    flags.DEFINE_bool(
        "class_folders",
        defaults["class_folders"],
        "video_folder: the first folder (below train and test) is the video's class.",
    )


def _options_from_flags(command: str, options_class: type) -> dict[str, object]:
    """The values of the command's own flags; refuses flags that belong to another command."""
    own = [field.name for field in fields(options_class)]
    every = {field.name for other, _ in _COMMANDS.values() for field in fields(other)}
    stray = sorted(name for name in every - set(own) if flags.FLAGS[name].present)
    if stray:
        raise UserError(
            f"--{stray[0]} does not apply to {command}, which takes: "
            + ", ".join(f"--{name}" for name in (*own, *_COMMON_FLAGS))
        )
    required = [name for name in ("input", "output") if name in (*own, "output")]
    for name in required:
        if not flags.FLAGS[name].value:
            raise UserError(f"{command} needs --{name}=DIR")
    return {name: flags.FLAGS[name].value for name in own}


def main(arguments: Sequence[str]) -> None:
    """Runs the sub-command named by the one positional argument."""
    if len(arguments) != 1 or arguments[0] not in _COMMANDS:
        given = f", not {' '.join(arguments)!r}" if arguments else ""
        raise UserError(
            f"say what to prepare, {' or '.join(_COMMANDS)}{given}: "
            "python -m glober_jax.prepare synthetic_sky --output=DIR (see --help)"
        )
    options_class, prepare = _COMMANDS[arguments[0]]
    options = options_class(**_options_from_flags(arguments[0], options_class))
    prepare(options, local_folder(flags.FLAGS.output), overwrite=flags.FLAGS.overwrite)


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
