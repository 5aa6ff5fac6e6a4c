"""From a dataset's options to its finished folder: what `glober_jax.prepare` runs."""

import dataclasses
import functools
import shlex
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from etils import epath

from glober_jax.data.building.make_shards import (
    Decode,
    InputFacts,
    MakeShard,
    make_shards,
    rejected,
)
from glober_jax.data.building.output import (
    OutputFolder,
    ShardFacts,
    fingerprint,
    join_digests,
    write_metadata,
)
from glober_jax.data.datasets import media_folders, synthetic_sky, ucf101
from glober_jax.data.datasets.media_folders import MediaOptions
from glober_jax.data.datasets.synthetic_sky import SyntheticSkyOptions
from glober_jax.data.files import bucket_errors, data_path
from glober_jax.data.media.captions import TextEncoder, captions_digest
from glober_jax.data.media.decode import DecodedVideo, decode_media
from glober_jax.data.media.tree import Listing, MediaItem
from glober_jax.data.schema import CLASS_NAMES, TEXT, TextInfo, record_features
from glober_jax.data.workers import run_on_beam, run_tasks

Options = MediaOptions | SyntheticSkyOptions

_PATHS = ("input", "captions", "clip", "lists")
# Rows of a table in the Markdown card.
_MOST_ROWS = 40


def _decode(item: MediaItem, options: MediaOptions) -> DecodedVideo:
    return decode_media(item, options.fps)


class Dataset(NamedTuple):
    """A class of options, and functions of them: one lists inputs, a picklable one decodes one."""

    options: type
    list_inputs: Callable[[Any], Listing]
    decode: Decode = _decode


DATASETS = {
    "video_folder": Dataset(media_folders.VideoFolderOptions, media_folders.list_video_folder),
    "sky_timelapse": Dataset(media_folders.SkyTimelapseOptions, media_folders.list_sky_timelapse),
    "ucf101": Dataset(ucf101.Ucf101Options, ucf101.list_ucf101),
    "taichi_hd": Dataset(media_folders.TaichiHdOptions, media_folders.list_taichi_hd),
    "webvid": Dataset(media_folders.WebvidOptions, media_folders.list_webvid),
    "synthetic_sky": Dataset(
        SyntheticSkyOptions, synthetic_sky.list_synthetic_sky, synthetic_sky.draw
    ),
}


def make_dataset(
    options: Options,
    output: epath.PathLike,
    *,
    overwrite: bool = False,
    workers: int = 1,
    beam_options: str | None = None,
    load_encoder: Callable[[Path], TextEncoder] | None = None,
) -> dict[str, Any] | None:
    """Makes the dataset that `options`, by their class, describe, or continues to.

    Inputs and `output`, a folder for nothing else, may be in buckets.

    Args:
      overwrite: whether to replace a different dataset that was made there.
      workers: processes of this machine to work with.
      beam_options: Apache Beam's flags, to work with it instead; the result is the same.
      load_encoder: loads the text encoder in the folder `options.clip`; picklable.

    Returns:
      The data card (see `_make_card`), or None if the same dataset is already there.

    Raises:
      UserError: the input is missing or unusable, `output` is not writable or holds something
        else, the disk is full, a bucket cannot be reached, or a worker died.
    """
    name, kind = next((n, kind) for n, kind in DATASETS.items() if kind.options is type(options))
    paths = {path: value for path in _PATHS if (value := getattr(options, path, None))}
    paths = {path: str(data_path(value)) for path, value in paths.items()}
    options, output = dataclasses.replace(options, **paths), data_path(output)
    command = _command(name, options, output)
    folder = OutputFolder(output, name, dataclasses.asdict(options), command)
    with bucket_errors(*paths.values(), output):
        if folder.is_finished(overwrite=overwrite):
            return None
        listing = kind.list_inputs(options)
        encoder = None
        if "clip" in paths:
            encoder = functools.partial(_load_once, load_encoder, Path(paths["clip"]))
            # Fails before anything else is done.
            encoder()
        labels = {class_name: label for label, class_name in enumerate(listing.class_names)}
        make = MakeShard(kind.decode, options, labels, encoder)
        with folder.staging() as staging:
            if beam_options is None:
                run = functools.partial(run_tasks, workers=workers)
            else:
                run = functools.partial(run_on_beam, folder=staging, options=beam_options)
            shards, how, facts = make_shards(listing, make, name, staging, run)
            metadata: dict[str, Any] = {CLASS_NAMES: list(listing.class_names)}
            features = record_features(None)
            if encoder:
                text, usable = encoder(), (i for i in listing.items if not facts[i.video_id].reason)
                digest = captions_digest({item.video_id: item.caption for item in usable})
                metadata[TEXT] = vars(TextInfo(text.length, text.width, text.digest, digest))
                features = record_features(text.width)
            write_metadata(staging, name, features, shards, metadata)
            card = _make_card(listing, how, facts, shards)
            folder.publish(staging, card, _markdown(card, name, command))
    return card


@functools.lru_cache(maxsize=1)
def _load_once(load: Callable[[Path], TextEncoder], folder: Path) -> TextEncoder:
    """The text encoder in a folder, loaded once in every process."""
    return load(folder)


def _command(name: str, options: Options, output: epath.Path) -> str:
    """The command line that makes this dataset, with every argument that is not the default."""
    given = [
        (field.name, getattr(options, field.name))
        for field in dataclasses.fields(options)
        if getattr(options, field.name) != field.default
    ]
    flags = [f"--{key}" if value is True else f"--{key}={value}" for key, value in given]
    command = ["python", "-m", "glober_jax.prepare", name, *flags, f"--output={output}"]
    return shlex.join(command)


def _make_card(
    listing: Listing,
    how: str,
    facts: Mapping[str, InputFacts],
    shards: Mapping[str, Sequence[ShardFacts]],
) -> dict[str, Any]:
    """The card of a dataset, as it is stored as JSON; for the arguments see `make_shards`.

    "accepted", "lengths", "fps", "sizes" and "warnings" are about usable inputs.
    """
    usable = {name: fact for name, fact in facts.items() if not fact.reason}
    classes = {item.video_id: item.class_name for item in listing.items}
    splits = {}
    for split, some in shards.items():
        pieces = (classes[name] for name, fact in usable.items() for p in fact.pieces if p == split)
        splits[split] = {
            "videos": sum(len(shard.lengths) for shard in some),
            "frames": sum(sum(shard.lengths) for shard in some),
            "shards": len(some),
            "bytes": sum(shard.num_bytes for shard in some),
            "fingerprint": fingerprint(some),
            "classes": _counts(pieces) if listing.class_names else {},
        }
    held_out = sum("test" in fact.pieces for fact in usable.values())
    lengths = [fact.num_frames for fact in usable.values()]
    bins = sorted(Counter(length.bit_length() - 1 for length in lengths).items())
    return {
        "accepted": len(usable),
        "split": how.format(held_out, len(usable)),
        "splits": splits,
        "notices": list(listing.notices),
        "class_names": list(listing.class_names),
        "lengths": {
            "least": min(lengths),
            "median": statistics.median_low(lengths),
            "most": max(lengths),
            "histogram": {f"{2**low}-{2 ** (low + 1) - 1}": count for low, count in bins},
        },
        "fps": _counts(f"{fact.fps:g}" if fact.fps else "unknown" for fact in usable.values()),
        "sizes": _counts(f"{fact.width}x{fact.height}" for fact in usable.values()),
        "warnings": [
            {"video": name, "warning": w} for name, fact in usable.items() for w in fact.warnings
        ],
        "rejected": [
            {"video": name, "reason": reason} for name, reason in rejected(listing, facts).items()
        ],
        "fingerprint": join_digests(split["fingerprint"] for split in splits.values()),
    }


def _markdown(card: Mapping[str, Any], dataset: str, command: str) -> str:
    """The card for people; long lists are cut short, the JSON beside it has them whole."""
    splits, lengths = card["splits"], card["lengths"]
    rows = [
        (name, s["videos"], s["frames"], s["shards"], f"{s['bytes'] / 1e6:.1f}",
         f"`{s['fingerprint']}`")
        for name, s in splits.items()
    ]  # fmt: skip
    parts = [
        f"# Data card: {dataset}",
        f"Made by\n\n    {command}",
        f"Content fingerprint `{card['fingerprint']}`. {card['accepted']} usable inputs; "
        f"{card['split']}.",
        *(f"Note: {notice}." for notice in card["notices"]),
        _table(("split", "videos", "frames", "shards", "MB", "fingerprint"), rows),
        "## Frames per input",
        f"{lengths['least']} to {lengths['most']}, median {lengths['median']}",
        _table(("frames", "inputs"), lengths["histogram"].items()),
        "## Frames per second\n\n" + _table(("fps", "inputs"), card["fps"].items()),
        "## Size of the inputs\n\n" + _table(("pixels", "inputs"), card["sizes"].items()),
    ]
    if class_names := card["class_names"]:
        rows = [
            (name, *(split["classes"].get(name, 0) for split in splits.values()))
            for name in class_names
        ]
        parts += ["## Videos per class", _table(("class", *splits), rows, most=len(rows))]
    for title, entries, what in (
        ("Rejected", card["rejected"], "reason"),
        ("Damaged, used as far as they go", card["warnings"], "warning"),
    ):
        rows = [(f"`{entry['video']}`", entry[what]) for entry in entries]
        parts += [f"## {title}: {len(rows)}", _table(("input", what), rows)] if rows else []
    return "\n\n".join(parts) + "\n"


def _counts(values: Iterable[str]) -> dict[str, int]:
    """How often each value occurs, the most frequent first."""
    return dict(Counter(values).most_common())


def _table(head: Sequence[str], rows: Iterable[Sequence[object]], most: int = _MOST_ROWS) -> str:
    rows = list(rows)
    shown = [[str(cell).replace("|", "\\|") for cell in row] for row in rows[:most]]
    if len(rows) > most:
        shown.append([f"and {len(rows) - most} more", *[""] * (len(head) - 1)])
    lines = [head, ["---"] * len(head), *shown]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
