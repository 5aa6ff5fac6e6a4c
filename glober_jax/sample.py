r"""Makes videos from a trained workdir; needs nothing else.

    python -m glober_jax.sample --workdir=runs/quickstart --output=more --num_videos=16
    python -m glober_jax.sample --workdir=runs/quickstart --output=late --num_frames=128 \
        --start=0.25 --end=0.5 --class_label=sunset
    python -m glober_jax.sample --workdir=runs/webvid --output=waves --clip=clip-vit-large-patch14 \
        --prompt="waves on a beach"

A video is a global feature; its frames are decoded at `num_frames` indices spread evenly over
[start, end) of the clip, so any sub-clip, rate and length is one call. Without --prompt a model of
texts takes captions of held-out clips, as without --class_label one of classes takes all in turn.
"""

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags
from etils import epath

from glober_jax import cli, config, media
from glober_jax.diffusion.samplers import SPACINGS
from glober_jax.errors import UserError
from glober_jax.experiment import Experiment
from glober_jax.interop.clip_text import ClipTextEncoder
from glober_jax.models.condition import ConditionTokens
from glober_jax.parallel.mesh import make_mesh
from glober_jax.progress import Progress
from glober_jax.sampling.conditions import (
    Conditions,
    class_conditions,
    no_conditions,
    text_conditions,
)
from glober_jax.sampling.decode import VideoSampler
from glober_jax.sampling.generate import FeatureSampler
from glober_jax.sampling.options import SamplingOptions
from glober_jax.sampling.write import write_samples
from glober_jax.training.trained import (
    ExampleTexts,
    load_classes,
    load_config,
    load_feature_model,
    load_frame_model,
    load_texts,
)
from glober_jax.versions import versions

_WORKDIR = flags.DEFINE_string("workdir", None, "A workdir that glober_jax.main trained")
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write to; WORKDIR/samples by default")
_NUM_VIDEOS = flags.DEFINE_integer("num_videos", 8, "Videos to make", lower_bound=1)
_NUM_FRAMES = flags.DEFINE_integer(
    "num_frames", None, "Frames per video; those of a training clip by default", lower_bound=1
)
_START = flags.DEFINE_float("start", 0.0, "Where in the clip to begin, 0 is its first frame")
_END = flags.DEFINE_float("end", 1.0, "Where in the clip to end, exclusive")
_CHECKPOINT = flags.DEFINE_enum(
    "checkpoint", "newest", ["newest", "best"], "Of the generator; the best of those graded"
)
_SEED = flags.DEFINE_integer("seed", 0, "Same seed, same videos", lower_bound=0)
_SAMPLER = flags.DEFINE_enum("sampler", None, list(SPACINGS), "Sampler; the config's by default")
_SPACING = flags.DEFINE_enum(
    "spacing",
    None,
    [spacing for fitting in SPACINGS.values() for spacing in fitting],
    "Where the steps lie; the config's, or the sampler's usual one, by default",
)
_STEPS = flags.DEFINE_integer(
    "steps", None, "Sampling steps; the config's by default", lower_bound=1
)
_CLASS = flags.DEFINE_string("class_label", None, "Class name or number; all in turn by default")
_PROMPT = flags.DEFINE_multi_string(
    "prompt", None, "A text, may be given again; captions of held-out clips by default"
)
_CLIP = flags.DEFINE_string("clip", None, "CLIP checkpoint folder that embeds --prompt")
_SCALES = {
    name: flags.DEFINE_float(name, None, f"Guidance: config.sampling.{name} by default")
    for name in ("condition_scale", "video_scale", "domain_scale")
}
_SAVE_ARRAYS = flags.DEFINE_boolean("save_arrays", False, "Also write frames.npz, the exact pixels")
flags.mark_flag_as_required("workdir")


def main(argv: Sequence[str]) -> None:
    if argv:
        raise UserError(f"unexpected argument {argv[0]!r}; every option is a --flag (see --help)")
    if not _START.value < _END.value:
        raise UserError(f"--start={_START.value} must be below --end={_END.value}")
    workdir = epath.Path(_WORKDIR.value)
    experiment = config.parse(load_config(workdir))
    output = epath.Path(_OUTPUT.value) if _OUTPUT.value else workdir / "samples"
    media.make_folder(output)
    options = _sampling_options(experiment)
    frames = _NUM_FRAMES.value or experiment.clip.num_frames
    index = _START.value + (_END.value - _START.value) * np.arange(frames) / frames
    conditions = _conditions(experiment.networks.condition, workdir)

    videos, steps = _make_videos(experiment, workdir, options, conditions, index)
    record = {
        "workdir": str(workdir),
        "checkpoint_steps": steps,
        "seed": _SEED.value,
        **conditions.record,
        "index": index.tolist(),
        "sampling": dataclasses.asdict(options),
        "versions": versions(),
        "command": "python -m glober_jax.sample " + shlex.join(sys.argv[1:]),
    }
    write_samples(
        output,
        videos,
        record,
        fps=options.fps,
        row_labels=conditions.names or None,
        save_arrays=_SAVE_ARRAYS.value,
    )
    print(f"{len(videos)} videos of {frames} frames are in {output}", file=sys.stderr)


def _sampling_options(experiment: Experiment) -> SamplingOptions:
    """The config's options with the flags that were given."""
    given = {name: flag.value for name, flag in _SCALES.items() if flag.value is not None}
    for name, flag in (("sampler", _SAMPLER), ("spacing", _SPACING), ("steps", _STEPS)):
        if flag.value is not None:
            given[name] = flag.value
    return config.sampling_options(experiment, given)


def _conditions(network: ConditionTokens, workdir: epath.Path) -> Conditions:
    """What each video is conditioned on: the flags', or everything there is in turn."""
    if _CLASS.value is not None and network.kind != "class":
        raise UserError("--class_label: this generator was trained without classes")
    if _PROMPT.value and network.kind != "text":
        raise UserError("--prompt: this generator was trained without texts")
    if network.kind == "class":
        # Weights that were converted come without names.
        classes = load_classes(workdir) or tuple(map(str, range(network.num_classes)))
        labels = range(len(classes)) if _CLASS.value is None else [_label(_CLASS.value, classes)]
        return class_conditions(_NUM_VIDEOS.value, labels, classes)
    if network.kind == "text":
        captions, texts = _texts(network, load_texts(workdir))
        return text_conditions(_NUM_VIDEOS.value, captions, texts)
    return no_conditions(_NUM_VIDEOS.value)


def _label(wanted: str, classes: tuple[str, ...]) -> int:
    if wanted in classes:
        return classes.index(wanted)
    if wanted.isdigit() and int(wanted) < len(classes):
        return int(wanted)
    raise UserError(f"--class_label={wanted}: choose one of {', '.join(classes)}")


def _texts(
    network: ConditionTokens, examples: ExampleTexts | None
) -> tuple[Sequence[str], np.ndarray]:
    """Captions and their embeddings, those of --prompt or of the held-out clips.

    Weights that were converted come without examples, and do not tell what embedded their texts.
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


def _make_videos(
    experiment: Experiment,
    workdir: epath.Path,
    options: SamplingOptions,
    conditions: Conditions,
    index: np.ndarray,
) -> tuple[np.ndarray, dict[str, int]]:
    """Videos uint8 [N, T, H, W, 3], and the steps of the checkpoints that made them."""
    mesh = make_mesh(experiment.mesh)
    networks = experiment.networks
    feature_step, feature_model = load_feature_model(networks, workdir, mesh, _CHECKPOINT.value)
    frame_step, frame_model = load_frame_model(networks, workdir, mesh)
    generate = FeatureSampler(networks, experiment.generator_diffusion, options, mesh)
    features = generate(feature_model, conditions.values, _SEED.value)
    sampler = VideoSampler(networks, experiment.diffusion, options, mesh)
    total = len(features) * len(index)
    with Progress("decoding", total, unit="frame") as progress:
        videos = sampler.decode(frame_model, features, index, _SEED.value)
        progress.update(total)
    return videos, {"autoencoder": frame_step, "generator": feature_step}


if __name__ == "__main__":
    cli.run(main)
