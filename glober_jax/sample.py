r"""Makes videos with a trained workdir.

    python -m glober_jax.sample --workdir=runs/quickstart --output=more --num_videos=16
    python -m glober_jax.sample --workdir=runs/quickstart --output=late --num_frames=128 \
        --start=0.25 --end=0.5 --class_label=sunset
    python -m glober_jax.sample --workdir=runs/quickstart --output=grid --guidance_condition=1,2,4
    python -m glober_jax.sample --workdir=runs/webvid --output=waves --clip=clip-vit-large-patch14 \
        --prompt="waves on a beach"
    python -m glober_jax.sample --workdir=runs/sky --output=slow --input=clouds.mp4 --rate=4
    python -m glober_jax.sample --workdir=runs/sky --output=morph --input=a.mp4 --input=b.mp4

A global feature holds a whole clip, and its frames can be decoded at any indices, so that one call
makes any sub-clip, rate and length. Without --class_label all classes take turns, without --prompt
captions of held-out clips. One --input is reconstructed, with --rate frames for each of its own;
between two, --num_videos are interpolated. --resume continues an interrupted command.
"""

import dataclasses
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from etils import epath

from glober_jax import cli
from glober_jax.data.media.decode import read_video
from glober_jax.diffusion.samplers import SPACINGS
from glober_jax.errors import UserError
from glober_jax.experiment import config
from glober_jax.experiment.options import Experiment
from glober_jax.interop.clip_text import ClipTextEncoder
from glober_jax.models.condition import ConditionTokens
from glober_jax.pretrained import load_model
from glober_jax.sampling import folder as folders
from glober_jax.sampling import generate
from glober_jax.sampling.checks import MOST_VIDEOS
from glober_jax.sampling.from_videos import between, retime
from glober_jax.sampling.glober import Glober
from glober_jax.sampling.indices import frame_indices
from glober_jax.training.packaged_model import results_folder
from glober_jax.training.restore import ExampleTexts, load_config, load_texts
from glober_jax.values import check_seed, check_whole
from glober_jax.versions import versions

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "A workdir that glober_jax.main trained, or a packaged model: builtin:sky64"
)
_CHECKPOINT = flags.DEFINE_enum(
    "checkpoint", "newest", ["newest", "best"], "Of the generator; best is by FVD"
)
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write to; WORKDIR/samples by default")
_RESUME = flags.DEFINE_boolean("resume", False, "Continue an interrupted run")
_SAVE_ARRAYS = flags.DEFINE_boolean("save_arrays", False, "Also write the exact pixels, frames.npz")

_NUM_VIDEOS = flags.DEFINE_integer("num_videos", 8, "Videos to make")
_SEED = flags.DEFINE_integer("seed", 0, "Of the noise; equal seeds give equal videos")
_CLASS = flags.DEFINE_string(
    "class_label", None, "Class name or number; by default all classes take turns"
)
_PROMPT = flags.DEFINE_multi_string(
    "prompt", None, "A text, repeatable; captions of held-out clips by default"
)
_CLIP = flags.DEFINE_string("clip", None, "CLIP checkpoint folder that embeds --prompt")
_INPUT = flags.DEFINE_multi_string(
    "input", [], "A video to reconstruct, or two to interpolate between"
)

_NUM_FRAMES = flags.DEFINE_integer("num_frames", None, "Frames per video, evenly spread")
_START = flags.DEFINE_float("start", 0.0, "Start within the clip; 0 is its first frame")
_END = flags.DEFINE_float("end", 1.0, "End within the clip, exclusive; 1 is its end")
_RATE = flags.DEFINE_float("rate", None, "Frames per frame of a training clip: 2 is half speed")
_INDICES = flags.DEFINE_list("indices", [], "Exact indices within the clip, 0 to 1")

_SAMPLER = flags.DEFINE_enum("sampler", None, list(SPACINGS), "Sampler; the config's by default")
_SPACING = flags.DEFINE_enum(
    "spacing",
    None,
    [spacing for fitting in SPACINGS.values() for spacing in fitting],
    "Placement of the steps; by default the config's, or the sampler's usual one",
)
_STEPS = flags.DEFINE_integer(
    "steps", None, "Sampling steps; the config's by default", lower_bound=1
)
_GUIDANCE = {
    f"{name}_scale": flags.DEFINE_list(
        f"guidance_{name}", [], "Guidance scale; the config's by default; several make a grid"
    )
    for name in ("condition", "video", "domain")
}
_BATCH = flags.DEFINE_integer("batch", 16, "Videos per batch", lower_bound=1)
_CHUNK_FRAMES = flags.DEFINE_integer(
    "chunk_frames", None, "Frames per device and call; bounds memory", lower_bound=1
)
flags.mark_flag_as_required("workdir")


def main(argv: Sequence[str]) -> None:
    """Runs the command with its positional arguments."""
    cli.no_arguments(argv)
    workdir = epath.Path(_WORKDIR.value)
    experiment = config.parse(load_config(workdir))
    output = epath.Path(_OUTPUT.value or results_folder(workdir) / "samples")
    size = experiment.networks.frame_size
    # Checks all flags before anything is loaded.
    check_whole(_NUM_VIDEOS.value, "--num_videos", 1, MOST_VIDEOS)
    check_seed(_SEED.value, "--seed")
    of_part = _INDICES.value or _NUM_FRAMES.value or (_START.value, _END.value) != (0, 1)
    if len(_INPUT.value) == 1 and (of_part or flags.FLAGS["num_videos"].present):
        raise UserError(
            "a single --input makes one video, of all its frames: leave out --num_videos, "
            "--num_frames, --start, --end and --indices"
        )
    if _INPUT.value and (_CLASS.value is not None or _PROMPT.value):
        raise UserError("--class_label and --prompt are of new videos: leave them out with --input")
    index = frame_indices(
        experiment.clip.num_frames,
        start=_START.value,
        end=_END.value,
        num_frames=_NUM_FRAMES.value,
        rate=_RATE.value,
        indices=_INDICES.value,
    )
    choices = list(_choices(experiment))
    if (given := len(_INPUT.value)) > 2:
        raise UserError(f"{given} --input: give one to reconstruct it, or two to go between")
    inputs = [read_video(path, size) for path in _INPUT.value]
    loaded = load_model(experiment, workdir, checkpoint=_CHECKPOINT.value)
    for name, options in choices:
        model = loaded.with_options(**vars(options))
        folder = output / name if len(choices) > 1 else output
        if len(inputs) == 1:
            _reconstruct(model, *inputs[0], folder)
        else:
            _make(model, _videos(model, workdir, inputs, index), folder)
    if len(choices) > 1:
        folders.write_guidance(output, [name for name, _ in choices])


def _choices(experiment: Experiment) -> Iterator[tuple[str, Any]]:
    """Name and sampling options of every combination of the guidance flags' values."""
    fields = (_SAMPLER, _SPACING, _STEPS, _CHUNK_FRAMES)
    given: dict[str, Any] = {flag.name: flag.value for flag in fields if flag.value is not None}
    scales = {name: cli.list_of(float, flag) for name, flag in _GUIDANCE.items() if flag.value}
    for values in itertools.product(*scales.values()):
        chosen = dict(zip(scales, values, strict=True))
        name = "_".join(f"{_GUIDANCE[key].name}={value:g}" for key, value in chosen.items())
        yield name, config.sampling_options(experiment, given | chosen)


def _make(model: Glober, videos: folders.Videos, folder: epath.Path) -> None:
    record = _record(model, videos.record) | {"index": videos.index_n.tolist()}
    folders.begin_folder(folder, record, resume=_RESUME.value)
    batch = min(_BATCH.value, videos.count)
    folders.write_videos(model, videos, _SEED.value, folder, batch=batch, arrays=_SAVE_ARRAYS.value)
    if _SAVE_ARRAYS.value:
        folders.join_arrays(folder, videos.count)
    folders.show(folder, videos, model.options.fps)
    print(f"{videos.count} videos of {len(videos.index_n)} frames are in {folder}", file=sys.stderr)


def _reconstruct(model: Glober, video: np.ndarray, fps: float, folder: epath.Path) -> None:
    rate = 1.0 if _RATE.value is None else _RATE.value
    record = _record(model, {"input": _INPUT.value[0], "rate": rate})
    folders.begin_folder(folder, record, resume=_RESUME.value)
    count = retime(
        model,
        video,
        folder / "video_0000",
        rate=rate,
        seed=_SEED.value,
        fps=fps or model.options.fps,
        arrays=_SAVE_ARRAYS.value,
    )
    if _SAVE_ARRAYS.value:
        # Even with --resume the video was made again.
        (folder / folders.ARRAYS).unlink(missing_ok=True)
        folders.join_arrays(folder, 1)
    print(f"{len(video)} frames became {count}: {folder}/video_0000.mp4", file=sys.stderr)


def _videos(
    model: Glober,
    workdir: epath.Path,
    inputs: Sequence[tuple[np.ndarray, float]],
    index_n: np.ndarray,
) -> folders.Videos:
    """New videos, or interpolated ones between two inputs."""
    count = _NUM_VIDEOS.value
    if inputs:
        way = between(model, inputs[0][0], inputs[1][0], count)
        labels = [f"{part:.0%}" for part in np.linspace(0, 1, count)]
        return folders.Videos(
            count,
            lambda first, number: way[np.arange(first, first + number) % count],
            index_n,
            labels,
            {"inputs": _INPUT.value, "num_videos": count},
        )
    conditions = _conditions(model, workdir)

    def features(first: int, number: int) -> np.ndarray:
        wanted = conditions.values[np.arange(first, first + number) % count]
        return model.generate_globals(number, wanted, seed=_SEED.value, first_video=first)

    return folders.Videos(count, features, index_n, conditions.names, conditions.record)


def _record(model: Glober, made_of: Mapping[str, Any]) -> dict[str, Any]:
    """JSON values that make the same videos again."""
    return {
        "workdir": _WORKDIR.value,
        "checkpoint_steps": model.trained_steps,
        "seed": _SEED.value,
        **made_of,
        "sampling": dataclasses.asdict(model.options),
        "versions": versions(),
        "command": cli.command_line("sample"),
    }


def _conditions(model: Glober, workdir: epath.Path) -> generate.Conditions:
    """The condition of each video, by the flags, else all classes or captions in turn."""
    network = model.networks.condition
    if _CLASS.value is not None and network.kind != "class":
        raise UserError("--class_label: this generator was trained without classes")
    if _PROMPT.value and network.kind != "text":
        raise UserError("--prompt: this generator was trained without texts")
    if network.kind == "class":
        every = range(network.num_classes)
        labels = every if _CLASS.value is None else model.condition(_CLASS.value)
        return generate.class_conditions(_NUM_VIDEOS.value, labels, model.names)
    if network.kind == "text":
        captions, texts = _texts(network, load_texts(workdir))
        return generate.text_conditions(_NUM_VIDEOS.value, captions, texts)
    return generate.no_conditions(_NUM_VIDEOS.value)


def _texts(
    network: ConditionTokens, examples: ExampleTexts | None
) -> tuple[Sequence[str], np.ndarray]:
    """Captions and their embeddings, of --prompt or of held-out clips.

    Converted weights have no examples and no digest of their text encoder.
    """
    if not _PROMPT.value:
        if examples is None:
            raise UserError(
                "this generator came without example captions; give --prompt and --clip"
            )
        return examples.captions, examples.texts
    if _CLIP.value is None:
        raise UserError(
            "--prompt needs --clip=DIR, the CLIP checkpoint that the data set was prepared with"
        )
    encoder = ClipTextEncoder(Path(_CLIP.value))
    known = examples is None or encoder.digest == examples.encoder
    if not known or (encoder.length, encoder.width) != (network.length, network.width):
        raise UserError(
            f"--clip={_CLIP.value} is not the CLIP checkpoint that the data set was prepared with: "
            "this generator does not know its embeddings"
        )
    return _PROMPT.value, encoder(_PROMPT.value)


if __name__ == "__main__":
    cli.run(main, "the same command with --resume goes on")
