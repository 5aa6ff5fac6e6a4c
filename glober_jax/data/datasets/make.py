"""From a dataset's options to its finished folder: what `glober_jax.prepare` runs.

Every dataset is a module here with a class of options and a function that lists inputs; all else
is shared.
"""

import dataclasses
import errno
import functools
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glober_jax.data.building import splits
from glober_jax.data.building.build import Recipe, write_dataset
from glober_jax.data.building.card import Card, markdown
from glober_jax.data.building.encode import FrameOptions
from glober_jax.data.building.make_shard import LoadEncoder
from glober_jax.data.building.output_folder import OutputFolder, Preparation
from glober_jax.data.building.runners import HERE, Runner
from glober_jax.data.building.splits import SplitOptions
from glober_jax.data.datasets import (
    sky_timelapse,
    synthetic_sky,
    taichi_hd,
    ucf101,
    video_folder,
    webvid,
)
from glober_jax.data.datasets.synthetic_sky import DrawSky, SyntheticSkyOptions
from glober_jax.data.media.captions import TextEncoder
from glober_jax.data.media.decode import decode_media
from glober_jax.data.media.options import MediaOptions
from glober_jax.data.media.tree import Listing
from glober_jax.errors import UserError

Options = MediaOptions | SyntheticSkyOptions

_PATHS = frozenset(("input", "captions", "clip", "lists"))


@dataclass(frozen=True)
class Dataset:
    """A kind of dataset: one line on it, the class of its options, what lists its inputs."""

    description: str
    options: type
    list_inputs: Callable[[Any], Listing]


DATASETS = {
    "video_folder": Dataset(
        "Videos from a folder.", video_folder.VideoFolderOptions, video_folder.list_inputs
    ),
    "sky_timelapse": Dataset(
        "Sky Time-lapse.", sky_timelapse.SkyTimelapseOptions, sky_timelapse.list_inputs
    ),
    "ucf101": Dataset("UCF-101.", ucf101.Ucf101Options, ucf101.list_inputs),
    "taichi_hd": Dataset("TaiChi-HD.", taichi_hd.TaichiHdOptions, taichi_hd.list_inputs),
    "webvid": Dataset("Videos with captions.", webvid.WebvidOptions, webvid.list_inputs),
    "synthetic_sky": Dataset(
        "Procedural sky time-lapse in four classes.",
        SyntheticSkyOptions,
        synthetic_sky.list_inputs,
    ),
}


def make_dataset(
    options: Options,
    output: Path,
    *,
    overwrite: bool = False,
    run: Runner = HERE,
    load_encoder: Callable[[Path], TextEncoder] | None = None,
) -> Card | None:
    """Makes the dataset that `options`, by their class, describe.

    An interrupted run is gone on with; its parts lie in a hidden folder in `output`.

    Args:
      options: what to make and how.
      output: the folder of this dataset and nothing else.
      overwrite: whether to replace a different dataset that this function made there.
      run: where the work is done, which changes nothing about the result.
      load_encoder: loads the text encoder in `options.clip`, where there is one; picklable where
        others run the work.

    Returns:
      What came of it, or None if the same dataset is already there.

    Raises:
      UserError: the input is missing or unusable, `output` is not writable or holds something
        else, the disk is full, or a worker died.
    """
    name = next(name for name, kind in DATASETS.items() if kind.options is type(options))
    paths = {
        field.name: os.path.abspath(value)
        for field in dataclasses.fields(options)
        if field.name in _PATHS and (value := getattr(options, field.name))
    }
    options = dataclasses.replace(options, **paths)
    wanted = Preparation(name, dataclasses.asdict(options), _command(name, options, output))
    folder = OutputFolder(output, wanted)
    if folder.is_finished(overwrite=overwrite):
        return None
    listing = DATASETS[name].list_inputs(options)
    clip = getattr(options, "clip", None)
    encoder = LoadEncoder(load_encoder, Path(clip)) if clip else None
    if encoder is not None:
        # Whatever is wrong with it is said before anything else is done.
        encoder()
    recipe = _recipe(name, options, listing, encoder)
    try:
        with folder.staging() as staging:
            card = write_dataset(recipe, staging, run)
            folder.publish(staging, card.to_dict(), markdown(card, name, wanted.command))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise UserError(
            f"the disk of --output={output} is full: make room and run the same command again, "
            "finished parts are kept"
        ) from error
    return card


def _recipe(name: str, options: Options, listing: Listing, encoder: LoadEncoder | None) -> Recipe:
    common = functools.partial(Recipe, name, DATASETS[name].description, listing, encoder=encoder)
    if isinstance(options, SyntheticSkyOptions):
        pixels = options.num_frames * options.size**2
        return common(
            DrawSky(options.seed, options.size, options.num_frames, options.frame_step),
            # At 95, JPEG's noise is a quarter of what changes from one drawn frame to the next.
            FrameOptions(options.size, quality=100),
            # Videos are scenes, whatever their length.
            SplitOptions(1, None, test_fraction=0.5),
            unit="video",
            # Drawing a pixel takes longer than decoding a byte.
            least_per_shard=max(1, splits.LEAST_BYTES // (4 * pixels)),
        )
    return common(
        functools.partial(decode_media, fps=options.fps),
        FrameOptions(options.size, options.fit, options.quality, options.min_frames),
        SplitOptions(options.min_frames, options.max_frames, options.test_fraction),
        unit="byte",
        least_per_shard=splits.LEAST_BYTES,
    )


def _command(name: str, options: Options, output: Path) -> str:
    """The command line that makes this dataset, with every argument that is not the default."""
    given = [
        (field.name, getattr(options, field.name))
        for field in dataclasses.fields(options)
        if getattr(options, field.name) != field.default
    ]
    flags = [f"--{key}" if value is True else f"--{key}={value}" for key, value in given]
    command = ["python", "-m", "glober_jax.prepare", name, *flags, f"--output={output}"]
    return shlex.join(command)
