"""From an ml_collections config to a checked `Experiment`, before anything is compiled.

Every section of a config maps onto the fields of one dataclass or network. Unknown keys are
refused with the nearest match, impossible sizes with one sentence; what follows from other values
(widths of the frame features, key-frame count of the encoder) is derived here and not repeated
in configs.
"""

import collections.abc
import dataclasses
import difflib
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
import ml_collections

from glober_jax.data.clips import ClipSpec
from glober_jax.diffusion.process import DiffusionProcess
from glober_jax.diffusion.samplers import SPACINGS
from glober_jax.errors import UserError
from glober_jax.evaluation import i3d, lpips
from glober_jax.evaluation.protocols import get_protocol
from glober_jax.experiment import DataOptions, EvaluationOptions, Experiment
from glober_jax.models import checks
from glober_jax.models.compat import Compat
from glober_jax.models.condition import ConditionTokens
from glober_jax.models.discriminator import PairDiscriminator
from glober_jax.models.frame_codec import FrameCodec
from glober_jax.models.generator import GlobalGenerator
from glober_jax.models.networks import Networks
from glober_jax.models.patch_discriminator import PatchDiscriminator
from glober_jax.models.video_decoder import FrameFeatures, GlobalTokens, UNet
from glober_jax.models.video_encoder import VideoEncoder
from glober_jax.parallel.mesh import MeshShape
from glober_jax.sampling.options import SamplingOptions
from glober_jax.training.autoencoder import AutoencoderTraining
from glober_jax.training.codec import PERCEPTUAL_BACKBONE, CodecTraining
from glober_jax.training.generator import GeneratorTraining
from glober_jax.training.loop import LoopOptions

_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
_SECTIONS = {
    "data": DataOptions,
    "clip": ClipSpec,
    "diffusion": DiffusionProcess,
    "generator_diffusion": DiffusionProcess,
    "codec": CodecTraining,
    "autoencoder": AutoencoderTraining,
    "generator": GeneratorTraining,
    "mesh": MeshShape,
    "loop": LoopOptions,
    "sampling": SamplingOptions,
    "evaluation": EvaluationOptions,
}
_NETWORKS = {
    "frame_codec": FrameCodec,
    "patch_discriminator": PatchDiscriminator,
    "video_encoder": VideoEncoder,
    "frame_features": FrameFeatures,
    "global_tokens": GlobalTokens,
    "unet": UNet,
    "discriminator": PairDiscriminator,
    "condition": ConditionTokens,
    "generator": GlobalGenerator,
}
# Fields of networks that follow from other sections and are therefore no config keys.
_DERIVED = {
    "video_encoder": {"dtype", "compat"},
    "frame_features": {"dtype", "compat", "channels", "widths", "global_downsamples"},
    "unet": {"dtype", "latent_channels"},
    "condition": {"dtype", "width"},
    "generator": {"dtype", "global_channels"},
}


def parse(config: Mapping[str, Any] | ml_collections.ConfigDict) -> Experiment:
    """Checks a whole config, given as plain values (`to_dict()`, or read back from JSON).

    Raises:
      UserError: an unknown or missing key, a value of another type, or sizes that cannot work
        together; the message names the key and what would be right.
    """
    plain = config.to_dict() if isinstance(config, ml_collections.ConfigDict) else dict(config)
    top_level = {"seed", "dtype", "frame_size", "model", *_SECTIONS}
    _check_keys(plain, top_level, top_level, "config")
    _check_value(plain["seed"], int, "config.seed")
    _check_value(plain["frame_size"], int, "config.frame_size")
    _check_value(plain["dtype"], Literal[tuple(_DTYPES)], "config.dtype")
    sections = {
        name: _build(kind, plain[name], f"config.{name}") for name, kind in _SECTIONS.items()
    }
    networks = _networks(plain, sections["clip"])
    experiment = Experiment(seed=plain["seed"], networks=networks, source=plain, **sections)
    checks.check_networks(networks)
    _check_experiment(experiment)
    return experiment


def sampling_options(experiment: Experiment, changes: Mapping[str, Any]) -> SamplingOptions:
    """The config's sampling with some fields changed, checked as a config's is.

    Another sampler brings its usual spacing along where `changes` names none.

    Raises:
      UserError: a value of another type, settings that the sampler does not have, more steps than
        the diffusion has, or fractions that are none.
    """
    hints = typing.get_type_hints(SamplingOptions)
    for name, value in changes.items():
        _check_value(value, hints[name], f"config.sampling.{name}")
    changes = dict(changes)
    if changes.get("sampler", experiment.sampling.sampler) != experiment.sampling.sampler:
        changes.setdefault("spacing", SPACINGS[changes["sampler"]][0])
    options = dataclasses.replace(experiment.sampling, **changes)
    for process in (experiment.diffusion, experiment.generator_diffusion):
        options.solver.check(process)
    for name in ("decoder_interval", "condition_interval"):
        interval = getattr(options, name)
        checks.require(
            0 <= interval.low <= interval.high <= 1,
            f"config.sampling.{name} is [{interval.low}, {interval.high}], but must lie in [0, 1], "
            "low before high",
        )
    checks.require(
        0 <= options.shared_noise <= 1,
        f"config.sampling.shared_noise is {options.shared_noise}, but must lie in [0, 1]",
    )
    return options


def _networks(plain: Mapping[str, Any], clip: ClipSpec) -> Networks:
    model = plain["model"]
    _check_value(model, Mapping, "config.model")
    _check_keys(model, {"compat", *_NETWORKS}, {"compat", *_NETWORKS}, "config.model")
    compat = model["compat"]
    _check_value(compat, Compat, "config.model.compat")
    dtype = _DTYPES[plain["dtype"]]

    def network(name: str, **derived: Any) -> Any:
        kind, path = _NETWORKS[name], f"config.model.{name}"
        hidden = _DERIVED.get(name, {"dtype"})
        return _build(kind, model[name], path, hidden)(dtype=dtype, **derived)

    codec = network("frame_codec")
    encoder = network("video_encoder", compat=compat)
    unet = network("unet", latent_channels=codec.latent_channels)
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


def _build(kind: type, values: Any, path: str, hidden: Sequence[str] | set[str] = ()) -> Any:
    """`kind(**values)` after checking keys and types; for networks a constructor of the rest."""
    _check_value(values, Mapping, path)
    fields = {
        field.name: field
        for field in dataclasses.fields(kind)
        if field.init and field.name not in {"parent", "name", *hidden}
    }
    required = {
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    _check_keys(values, set(fields), required, path)
    hints = typing.get_type_hints(kind)
    arguments = {}
    for name, value in values.items():
        hint = hints[name]
        if dataclasses.is_dataclass(hint):
            arguments[name] = _build(hint, value, f"{path}.{name}")
            continue
        _check_value(value, hint, f"{path}.{name}")
        arguments[name] = tuple(value) if isinstance(value, list) else value
    if issubclass(kind, nn.Module):
        return lambda **derived: kind(**arguments, **derived)
    return kind(**arguments)


def _check_keys(values: Mapping[str, Any], known: set[str], required: set[str], path: str) -> None:
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = (
                f"did you mean {path}.{near[0]}?" if near else f"known: {', '.join(sorted(known))}"
            )
            raise UserError(f"unknown config key {path}.{key}; {hint}")
    if missing := sorted(required - values.keys()):
        raise UserError(f"{path} lacks {', '.join(missing)}")


def _check_value(value: Any, hint: Any, path: str) -> None:
    """Refuses values of another type than the field's annotation says."""
    origin = typing.get_origin(hint) or hint
    if origin is Literal:
        choices = typing.get_args(hint)
        if value not in choices:
            raise UserError(f"{path} is {value!r}; choose one of {', '.join(map(str, choices))}")
        return
    if origin is collections.abc.Sequence:
        fits = isinstance(value, list | tuple) and all(isinstance(item, int) for item in value)
        expected = "a sequence of integers"
    elif origin is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        expected = "a number"
    elif origin is int:
        fits = isinstance(value, int) and not isinstance(value, bool)
        expected = "an integer"
    else:
        fits = isinstance(value, origin)
        expected = {Mapping: "a section"}.get(origin, f"a {origin.__name__}")
    if not fits:
        raise UserError(f"{path} is {value!r}, but must be {expected}")


def _check_experiment(experiment: Experiment) -> None:
    """What sections ask of each other."""
    clip, data = experiment.clip, experiment.data
    checks.require(experiment.seed >= 0, f"config.seed is {experiment.seed}, but must be 0 or more")
    checks.require(
        clip.num_key_frames >= 1,
        "config.clip.num_key_frames must be 1 or more: the encoder's input",
    )
    checks.require(
        clip.num_target_frames >= 2,
        "config.clip.num_target_frames must be 2 or more: the discriminator judges pairs",
    )
    checks.require(
        experiment.autoencoder.latent_scale >= 0 and experiment.sampling.eta >= 0,
        "config.autoencoder.latent_scale and config.sampling.eta must be 0 or more",
    )
    checks.require(
        data.cache_latents or not data.latents_dir,
        "config.data.latents_dir names cached latents: set config.data.cache_latents=True to train "
        "on them, or leave it empty",
    )
    checks.require(
        0 <= data.max_damaged < 1,
        f"config.data.max_damaged is {data.max_damaged}, but must be 0 or more and less than 1",
    )
    checks.require(
        min(data.workers, data.threads, data.prefetch) >= 0,
        "config.data.workers, .threads and .prefetch must be 0 or more",
    )
    checks.require(
        experiment.codec.frames_per_clip in range(1, clip.num_frames + 1),
        f"config.codec.frames_per_clip must lie in 1..{clip.num_frames}, the frames of a clip",
    )
    smallest = lpips.min_size(PERCEPTUAL_BACKBONE)
    checks.require(
        experiment.codec.perceptual_weight == 0 or experiment.networks.frame_size >= smallest,
        f"config.codec.perceptual_weight needs frames of {smallest}x{smallest} pixels or more; "
        "set it to 0",
    )
    for name in ("codec", "autoencoder", "generator"):
        options = getattr(experiment, name)
        checks.require(options.steps >= 1, f"config.{name}.steps must be 1 or more")
        checks.require(options.batch_size >= 1, f"config.{name}.batch_size must be 1 or more")
        checks.require(
            options.micro_batches >= 1 and options.batch_size % options.micro_batches == 0,
            f"config.{name}.micro_batches is {options.micro_batches}, but must be 1 or more and "
            f"divide config.{name}.batch_size={options.batch_size}",
        )
    checks.require(
        min(experiment.loop.max_skipped, experiment.loop.slow_step) >= 0,
        "config.loop.max_skipped and config.loop.slow_step must be 0 or more",
    )
    checks.require(
        experiment.sampling.chunk_frames >= 1, "config.sampling.chunk_frames must be 1 or more"
    )
    sampling_options(experiment, {})
    _check_evaluation(experiment)


def _check_evaluation(experiment: Experiment) -> None:
    evaluation, every = experiment.evaluation, experiment.evaluation.grade_every
    if evaluation.protocol:
        get_protocol(evaluation.protocol)
    saved = experiment.loop.checkpoint_every
    checks.require(
        every == 0 or (every > 0 and saved > 0 and every % saved == 0),
        f"config.evaluation.grade_every is {every}, but must be a multiple of "
        f"config.loop.checkpoint_every={saved}, or 0",
    )
    checks.require(
        evaluation.grade_clips >= 4,
        f"config.evaluation.grade_clips is {evaluation.grade_clips}, but must be 4 or more",
    )
    checks.require(
        every == 0 or experiment.clip.num_frames >= i3d.MIN_FRAMES,
        f"config.evaluation.grade_every needs clips of {i3d.MIN_FRAMES} frames: set it to 0",
    )
