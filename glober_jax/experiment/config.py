"""From an ml_collections config to a checked `Experiment`, before anything is compiled.

Every section is one dataclass or network. Unknown keys are refused with the nearest match,
impossible sizes with one sentence. What follows from other options is derived here.
"""

import dataclasses
import functools
import operator
import typing
from collections.abc import Collection, Mapping
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
import ml_collections

from glober_jax.data.clips import ClipSpec
from glober_jax.diffusion.process import DiffusionProcess
from glober_jax.evaluation import i3d
from glober_jax.evaluation.protocols import get_protocol
from glober_jax.experiment.options import Experiment
from glober_jax.models import checks, lpips
from glober_jax.models.compat import Compat
from glober_jax.models.networks import NETWORKS, Networks
from glober_jax.sampling.options import SamplingOptions, changed
from glober_jax.training.codec import PERCEPTUAL_BACKBONE
from glober_jax.values import check_keys, check_seed, check_value

_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
# The dataclass of each section and the module of each network, by config key.
_SECTIONS = {
    name: kind
    for name, kind in typing.get_type_hints(Experiment).items()
    if name not in ("seed", "networks", "source")
}
_NETWORKS = {
    name: kind for name, kind in typing.get_type_hints(Networks).items() if name in NETWORKS
}
# Fields that are no config keys: those of every network, and those that follow from others.
_ADDED = {"parent", "name", "dtype"}
_DERIVED = {
    "clip": {"published_keys"},
    "video_encoder": {"compat"},
    "frame_features": {
        "compat",
        "channels",
        "widths",
        "global_downsamples",
        "estimate_channels",
        "key_index",
    },
    "unet": {"latent_channels", "clip_frames"},
    "condition": {"width"},
    "generator": {"global_channels"},
}

# Least values of options.
_LEAST = {
    "clip.num_key_frames": 1,
    # The discriminator judges pairs.
    "clip.num_target_frames": 2,
    "codec.frames_per_clip": 1,
    "autoencoder.latent_scale": 0,
    **{
        f"{stage}.{option}": 1
        for stage in ("codec", "autoencoder", "generator")
        for option in ("steps", "batch_size", "micro_batches")
    },
    **{f"data.{option}": 0 for option in ("max_damaged", "workers", "threads", "prefetch")},
    **{f"{stage}.adversarial.start_step": 0 for stage in ("codec", "autoencoder")},
    "autoencoder.adversarial.clip_stride": 1,
    "loop.keep_checkpoints": 1,
    "loop.max_skipped": 0,
    "loop.slow_step": 0,
    "evaluation.grade_every": 0,
    "evaluation.grade_clips": 4,
}


def defaults() -> ml_collections.ConfigDict:
    """A config of all defaults, for config files to override.

    Options without default are left out: `frame_size`, the data set's folder, the kind of
    condition, steps and batch size of each stage.
    """

    def tree(kinds: Mapping[str, type]) -> dict[str, Any]:
        return {
            name: {
                option: dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value
                for option, value in _fields(kind, _DERIVED.get(name, ())).items()
                if value is not dataclasses.MISSING
            }
            for name, kind in kinds.items()
        }

    model = {"compat": "none", **tree(_NETWORKS)}
    return ml_collections.ConfigDict(
        {"seed": 0, "dtype": "float32", "model": model, **tree(_SECTIONS)}
    )


def parse(config: Mapping[str, Any] | ml_collections.ConfigDict) -> Experiment:
    """Checks a whole config, also one of plain values (`to_dict()`, or read from JSON).

    Raises:
      UserError: an unknown or missing key, a value of another type, or sizes that cannot work
        together; the message names the key and what would be right.
    """
    plain = config.to_dict() if isinstance(config, ml_collections.ConfigDict) else dict(config)
    top_level = {"seed", "dtype", "frame_size", "model", *_SECTIONS}
    check_keys(plain, top_level, top_level, "config")
    check_value(plain["seed"], int, "config.seed")
    check_value(plain["frame_size"], int, "config.frame_size")
    check_value(plain["dtype"], Literal[tuple(_DTYPES)], "config.dtype")
    sections = {
        name: _build(kind, plain[name], f"config.{name}", _DERIVED.get(name, ()))
        for name, kind in _SECTIONS.items()
    }
    networks = _networks(plain, sections["clip"], sections["diffusion"])
    if networks.compat == "reference":
        published = {"published_keys": True, "max_stride": 0}
        sections["clip"] = dataclasses.replace(sections["clip"], **published)
    experiment = Experiment(seed=plain["seed"], networks=networks, source=plain, **sections)
    checks.check_networks(networks)
    _check_experiment(experiment)
    return experiment


def sampling_options(experiment: Experiment, changes: Mapping[str, Any]) -> SamplingOptions:
    """The config's sampling with some fields changed; see `options.changed`."""
    processes = (experiment.diffusion, experiment.generator_diffusion)
    return changed(experiment.sampling, changes, processes, branch_shares(experiment))


def branch_shares(experiment: Experiment) -> dict[str, float]:
    """The fraction of training clips of each branch of guidance."""
    networks, training = experiment.networks, experiment.autoencoder
    # As published, key frames are dropped independently, and this branch is without both.
    published = networks.compat == "reference"
    conditional = networks.condition.kind != "unconditional"
    return {
        "video": training.key_dropout,
        "domain": training.domain_dropout * (training.key_dropout if published else 1),
        "without": experiment.generator.condition_dropout if conditional else 0.0,
    }


def _networks(plain: Mapping[str, Any], clip: ClipSpec, diffusion: DiffusionProcess) -> Networks:
    model = plain["model"]
    check_value(model, Mapping, "config.model")
    check_keys(model, {"compat", *_NETWORKS}, {"compat", *_NETWORKS}, "config.model")
    compat = model["compat"]
    check_value(compat, Compat, "config.model.compat")
    dtype = _DTYPES[plain["dtype"]]
    estimates = compat == "none" and diffusion.prediction == "x0"

    def network(name: str, **derived: Any) -> Any:
        path, hidden = f"config.model.{name}", _DERIVED.get(name, ())
        return _build(_NETWORKS[name], model[name], path, hidden)(dtype=dtype, **derived)

    codec = network("frame_codec")
    encoder = network("video_encoder", compat=compat)
    unet = network("unet", latent_channels=codec.latent_channels)
    if compat == "reference":
        unet = unet.clone(head_dim=0)
    generator = network("generator", global_channels=encoder.global_channels)
    return Networks(
        frame_codec=codec,
        patch_discriminator=network("patch_discriminator"),
        video_encoder=encoder,
        frame_features=network(
            "frame_features",
            channels=encoder.channels,
            widths=unet.feature_widths,
            global_downsamples=len(encoder.multipliers) - 1,
            estimate_channels=codec.latent_channels if estimates else 0,
            key_index=tuple((clip.key_positions / clip.num_frames).tolist()),
            compat=compat,
        ),
        global_tokens=network("global_tokens"),
        unet=unet,
        discriminator=network("discriminator"),
        condition=network("condition", width=generator.context_width),
        generator=generator,
        frame_size=plain["frame_size"],
        num_key_frames=clip.num_key_frames,
    )


def _fields(kind: type, hidden: Collection[str]) -> dict[str, Any]:
    """The defaults of a section's or network's options by name, `MISSING` without one."""
    fields = {}
    for field in dataclasses.fields(kind):
        if field.init and field.name not in {*_ADDED, *hidden}:
            made = field.default_factory
            fields[field.name] = field.default if made is dataclasses.MISSING else made()
    return fields


def _build(kind: type, values: Any, path: str, hidden: Collection[str] = ()) -> Any:
    """`kind(**values)` after checking keys and types; for networks a constructor of the rest."""
    check_value(values, Mapping, path)
    fields = _fields(kind, hidden)
    required = {name for name, value in fields.items() if value is dataclasses.MISSING}
    check_keys(values, set(fields), required, path)
    hints = typing.get_type_hints(kind)
    arguments = {}
    for name, value in values.items():
        hint = hints[name]
        if dataclasses.is_dataclass(hint):
            check_value(value, Mapping, f"{path}.{name}")
            # Options that it does not name have the defaults of this section.
            value = {**dataclasses.asdict(fields[name]), **value}
            arguments[name] = _build(hint, value, f"{path}.{name}")
            continue
        check_value(value, hint, f"{path}.{name}")
        arguments[name] = tuple(value) if isinstance(value, list) else value
    if issubclass(kind, nn.Module):
        return functools.partial(kind, **arguments)
    return kind(**arguments)


def _check_experiment(experiment: Experiment) -> None:
    """Checks of values against each other, across sections."""
    for option, least in _LEAST.items():
        value = operator.attrgetter(option)(experiment)
        checks.require(value >= least, f"config.{option} is {value}, but must be {least} or more")
    clip, data, networks = experiment.clip, experiment.data, experiment.networks
    check_seed(experiment.seed, "config.seed")
    dropouts = (experiment.autoencoder.key_dropout, experiment.autoencoder.domain_dropout)
    together = max if networks.compat == "reference" else sum
    checks.require(
        min(dropouts) >= 0 and together(dropouts) <= 1,
        f"config.autoencoder.key_dropout={dropouts[0]} and domain_dropout={dropouts[1]} must lie "
        "in [0, 1], and add up to at most 1 unless config.model.compat is 'reference'",
    )
    dropout = experiment.generator.condition_dropout
    checks.require(
        0 <= dropout <= 1,
        f"config.generator.condition_dropout is {dropout}, but must lie in [0, 1]",
    )
    checks.require(
        data.cache_latents or not data.latents_dir,
        "config.data.latents_dir names cached latents: set config.data.cache_latents=True to train "
        "on them, or leave it empty",
    )
    checks.require(
        data.max_damaged < 1, f"config.data.max_damaged is {data.max_damaged}, but must be below 1"
    )
    checks.require(
        experiment.codec.frames_per_clip <= clip.num_frames,
        f"config.codec.frames_per_clip must lie in 1..{clip.num_frames}, the frames of a clip",
    )
    slots = networks.frame_features.index_slots
    checks.require(
        networks.compat == "reference" or slots <= clip.num_frames,
        f"config.model.frame_features.index_slots={slots} exceeds config.clip.num_frames="
        f"{clip.num_frames}: frames further apart than slots do not determine what is between",
    )
    smallest = lpips.min_size(PERCEPTUAL_BACKBONE)
    checks.require(
        experiment.codec.perceptual_weight == 0 or networks.frame_size >= smallest,
        f"config.codec.perceptual_weight needs frames of {smallest}x{smallest} pixels or more; "
        "set it to 0",
    )
    for name in ("codec", "autoencoder", "generator"):
        options = getattr(experiment, name)
        checks.require(
            options.batch_size % options.micro_batches == 0,
            f"config.{name}.micro_batches is {options.micro_batches}, but must divide "
            f"config.{name}.batch_size={options.batch_size}",
        )
    sampling_options(experiment, {})
    if experiment.evaluation.protocol:
        get_protocol(experiment.evaluation.protocol)
    every, saved = experiment.evaluation.grade_every, experiment.loop.checkpoint_every
    checks.require(
        every == 0 or (saved > 0 and every % saved == 0),
        f"config.evaluation.grade_every is {every}, but must be a multiple of "
        f"config.loop.checkpoint_every={saved}, or 0",
    )
    checks.require(
        every == 0 or clip.num_frames >= i3d.MIN_FRAMES,
        f"config.evaluation.grade_every needs clips of {i3d.MIN_FRAMES} frames: set it to 0",
    )
