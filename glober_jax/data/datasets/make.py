"""From a dataset's options to its finished folder: what `glober_jax.prepare` runs."""

import dataclasses
import functools
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from etils import epath

from glober_jax.data.building.card import make_card, markdown
from glober_jax.data.building.make_shards import Decode, MakeShard, make_shards
from glober_jax.data.building.output_folder import OutputFolder
from glober_jax.data.building.shard_file import write_metadata
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
    """Makes the dataset that `options`, by their class, describe.

    An interrupted run is continued. Inputs and `output`, which holds nothing else, may be local or
    in buckets; `overwrite` replaces a different dataset that was made there.

    Args:
      workers: processes of this machine to work with.
      beam_options: Apache Beam's flags, to work with it instead; the result is the same.
      load_encoder: loads the text encoder in the folder `options.clip`; picklable.

    Returns:
      The data card (see `make_card`), or None if the same dataset is already there.

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
            card = make_card(listing, how, facts, shards)
            folder.publish(staging, card, markdown(card, name, command))
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
