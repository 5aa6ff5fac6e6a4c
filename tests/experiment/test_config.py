"""Every mistake in a config is one sentence that names the key, before anything is compiled."""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from glober_jax.errors import UserError
from glober_jax.experiment.config import defaults, parse, sampling_options
from glober_jax.experiment.options import Experiment
from glober_jax.experiment.stages import STAGES, stage_clip
from tests.tiny import tiny_config

# (path of the key, its new value, what the message must say)
MISTAKES = [
    ("sede", 1, "config.sede; did you mean config.seed?"),
    ("model.unet.chanels", 16, "did you mean config.model.unet.channels?"),
    ("model.une", {}, "did you mean config.model.unet?"),
    ("autoencoder.optimizer.learning_rat", 1.0, "config.autoencoder.optimizer.learning_rate?"),
    ("autoencoder.adversarial.optimizer.beta_1", 0.5, "adversarial.optimizer.beta1?"),
    ("model.frame_features.channels", 16, "config.model.frame_features.channels"),
    ("clip.xyz", 1, "config.clip.xyz; known: max_stride, num_frames"),
    ("dtype", "float64", "config.dtype is 'float64'; choose one of float32, bfloat16"),
    ("data.flip", 1, "config.data.flip is 1, but must be a bool"),
    ("data.max_damaged", 1.0, "config.data.max_damaged is 1.0, but must be below 1"),
    ("data.workers", -1, "config.data.workers is -1, but must be 0 or more"),
    ("model.unet.multipliers", 2, "config.model.unet.multipliers is 2"),
    ("model.unet.multipliers", (1, 0.5), "config.model.unet.multipliers"),
    ("model.unet", 3, "config.model.unet is 3, but must be a section"),
    ("codec.steps", 2.5, "config.codec.steps is 2.5, but must be an integer"),
    ("codec.optimizer.learning_rate", float("nan"), "is nan, but must be a finite number"),
    ("codec.optimizer.learning_rate", True, "config.codec.optimizer.learning_rate is True"),
    ("codec.optimizer.decay", "linear", "config.codec.optimizer.decay is 'linear'; choose one of"),
    ("sampling.decoder_steps", -1, "sampling steps must lie in 1..1000, got -1"),
    ("sampling.spacing", "even", "config.sampling.spacing is 'even'; choose one of trailing"),
    ("frame_size", 17, "config.frame_size=17 is not a multiple of 2"),
    ("frame_size", 0, "config.frame_size=0"),
    ("model.unet.multipliers", (1, 1, 1, 1, 1), "config.model.unet halves its input 16-fold"),
    ("model.unet.heads", 5, "config.model.unet.heads=5 does not divide a layer of 32 channels"),
    ("model.unet.head_dim", 5, "config.model.unet.head_dim=5 does not divide a layer of 32"),
    ("model.unet.groups", 7, "config.model.unet.groups=7"),
    ("model.unet.channels", 0, "config.model.unet.channels is 0, but must be positive"),
    ("model.video_encoder.head_dim", 12, "config.model.video_encoder.head_dim=12"),
    ("model.video_encoder.multipliers", (1, 1, 1, 1), "the global feature is 1x1"),
    ("model.video_encoder.global_channels", 18, "config.model.video_encoder.groups=4"),
    ("model.frame_features.head_dim", 0, "config.model.frame_features.head_dim is 0"),
    ("model.frame_features.index_slots", 0, "config.model.frame_features.index_slots is 0"),
    ("model.frame_features.index_slots", 17, "index_slots=17 exceeds config.clip.num_frames=16"),
    ("model.discriminator.multipliers", (1,) * 6, "discriminator halves its input 32-fold"),
    ("model.patch_discriminator.multipliers", (1,) * 4, "patch_discriminator leaves 2x2 pixels"),
    ("model.patch_discriminator.groups", 3, "config.model.patch_discriminator.groups=3"),
    ("model.discriminator.head_dim", 3, "config.model.discriminator.head_dim=3"),
    ("model.generator.heads", 3, "config.model.generator.width=32 must be a multiple of heads=3"),
    ("model.generator.lead_channels", 16, "lead_channels=16 must lie in 0..15"),
    ("model.generator.patch_size", 3, "patch_size=3 does not divide the global feature"),
    ("model.condition.kind", "image", "config.model.condition.kind is 'image'; choose one of"),
    ("model.condition.length", 0, "config.model.condition.length is 0"),
    ("model.condition.num_classes", 0, "num_classes is 0, but must be positive for kind='class'"),
    ("model.condition.kind", "text", "num_classes is 4, but must be 0 for kind='text'"),
    ("clip.num_target_frames", 1, "config.clip.num_target_frames is 1, but must be 2 or more"),
    ("clip.num_key_frames", 0, "config.clip.num_key_frames is 0, but must be 1 or more"),
    ("clip.num_key_frames", 17, "num_key_frames=17 must lie between 0 and num_frames=16"),
    ("clip.max_stride", -1, "max_stride=-1 must be 0 (every clip has stride=1) or at least stride"),
    ("clip.published_keys", True, "unknown config key config.clip.published_keys"),
    ("codec.frames_per_clip", 17, "config.codec.frames_per_clip must lie in 1..16"),
    ("generator.batch_size", 0, "config.generator.batch_size is 0, but must be 1 or more"),
    ("codec.micro_batches", 3, "micro_batches is 3, but must divide config.codec.batch_size=8"),
    ("autoencoder.key_dropout", 0.99, "key_dropout=0.99 and domain_dropout=0.02 must lie in"),
    ("autoencoder.adversarial.clip_stride", 0, "clip_stride is 0, but must be 1 or more"),
    ("codec.adversarial.start_step", -1, "start_step is -1, but must be 0 or more"),
    ("generator.condition_dropout", 1.5, "condition_dropout is 1.5, but must lie in [0, 1]"),
    ("loop.keep_checkpoints", 0, "config.loop.keep_checkpoints is 0, but must be 1 or more"),
    ("autoencoder.domain_dropout", -0.1, "domain_dropout=-0.1 must lie in [0, 1], and add up to"),
    ("sampling.decoder_interval", 0.5, "decoder_interval is 0.5, but must be a section"),
    ("sampling.decoder_interval.low", "0", "config.sampling.decoder_interval.low is '0', but must"),
    ("sampling.condition_interval.high", 1.5, "[0.0, 1.5], but must lie in [0, 1]"),
]


def plain_config() -> dict[str, Any]:
    return copy.deepcopy(tiny_config().to_dict())


def changed(path: str, value: Any) -> dict[str, Any]:
    """The tiny config with one key set."""
    config = plain_config()
    *sections, key = path.split(".")
    section = config
    for name in sections:
        section = section[name]
    section[key] = value
    return config


@pytest.mark.parametrize(("path", "value", "message"), MISTAKES)
def test_mistakes_are_refused_by_name(path: str, value: Any, message: str) -> None:
    """Fails when a mistake gets through, or its message does not name the key."""
    with pytest.raises(UserError) as error:
        parse(changed(path, value))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def sections_of(config: Mapping[str, Any], path: str = "config") -> list[str]:
    below = [(f"{path}.{k}", v) for k, v in config.items() if isinstance(v, Mapping)]
    return [path, *(p for name, section in below for p in sections_of(section, name))]


def test_unknown_keys_are_refused_in_every_section() -> None:
    """Fails when some section takes any key at all."""
    paths = sections_of(plain_config())
    assert len(paths) > 20
    for path in paths:
        key = f"{path}.zzz".removeprefix("config.")
        with pytest.raises(UserError, match=f"unknown config key config.{key}".replace(".", r"\.")):
            parse(changed(key, 1))


def test_missing_keys_are_named() -> None:
    """Fails when a missing section or key ends in a KeyError."""
    config = plain_config()
    del config["codec"]["steps"]
    with pytest.raises(UserError, match=r"config\.codec lacks steps"):
        parse(config)
    del config["clip"]
    with pytest.raises(UserError, match="config lacks clip"):
        parse(config)


def test_what_a_config_leaves_out_has_its_default() -> None:
    """Fails when `defaults()` and a stored config without a key are read otherwise."""
    config, always = plain_config(), {"seed", "dtype", "frame_size", "compat"}
    config["codec"]["adversarial"]["weight"] = 0.0
    config["diffusion"]["prediction"] = "eps"

    def shortened(section: dict[str, Any], by_default: dict[str, Any]) -> dict[str, Any]:
        return {
            key: shortened(value, by_default[key]) if isinstance(value, dict) else value
            for key, value in section.items()
            if isinstance(value, dict) or key in always or by_default.get(key) != value
        }

    short = shortened(config, defaults().to_dict())
    assert len(str(short)) < 0.7 * len(str(config))
    experiments = [dataclasses.replace(parse(c), source={}) for c in (short, config)]
    assert experiments[0] == experiments[1]


def test_another_sampler_brings_its_spacing_and_keeps_the_rest() -> None:
    """Fails when --sampler alone ends in a complaint about a spacing that nobody gave, or a spacing
    that was given is lost.
    """
    experiment = parse(changed("sampling.eta", 0.0))
    options = sampling_options(experiment, {"sampler": "dpm++", "steps": 3})
    assert (options.spacing, options.steps) == ("log_snr", 3)
    assert sampling_options(experiment, {"sampler": "ddim"}) == experiment.sampling
    given = {"sampler": "dpm++", "spacing": "karras"}
    assert sampling_options(experiment, given).spacing == "karras"


def test_guidance_by_what_was_never_trained_is_refused() -> None:
    """Fails when sampling subtracts the prediction of a branch that no clip of training was of."""
    scales = {"video_scale": 1.5, "domain_scale": 1.5, "condition_scale": 2.0}
    trained = plain_config()
    trained["sampling"].update(scales)
    sampling_options(parse(trained), {})
    for dropped, scale, off in (
        ("autoencoder.key_dropout", "video_scale", 0.0),
        ("autoencoder.domain_dropout", "domain_scale", 1.0),
        ("generator.condition_dropout", "condition_scale", 1.0),
    ):
        config = copy.deepcopy(trained)
        section, key = dropped.split(".")
        config[section][key] = 0.0
        message = rf"config.sampling.{scale} is {scales[scale]}, but must be .* \(config.{dropped}"
        with pytest.raises(UserError, match=message):
            parse(config)
        config["sampling"][scale] = off
        experiment = parse(config)
        with pytest.raises(UserError, match=message):
            sampling_options(experiment, {scale: scales[scale]})
    unconditional = copy.deepcopy(trained)
    unconditional["model"]["condition"].update({"kind": "unconditional", "num_classes": 0})
    with pytest.raises(UserError, match=r"condition_scale is 2.0, but must be 1 .* unconditional"):
        parse(unconditional)
    # As published, the branch "domain" is without key frames, too, by a draw of its own.
    published = copy.deepcopy(trained)
    published["model"]["compat"] = "reference"
    published["autoencoder"]["key_dropout"] = published["sampling"]["video_scale"] = 0.0
    with pytest.raises(UserError, match=r"config.sampling.domain_scale is 1.5"):
        parse(published)
    published["autoencoder"].update({"key_dropout": 0.9, "domain_dropout": 0.9})
    parse(published)


def test_published_networks_get_what_they_were_made_for() -> None:
    """Fails when they get other key frames or times, or are computed with heads of other width."""
    for compat, *expected in (("none", False, 2, 8), ("reference", True, 0, 0)):
        config = changed("clip.max_stride", 2)
        config["model"]["compat"] = compat
        config["model"]["unet"]["head_dim"] = 8
        experiment = parse(config)
        clip, networks = experiment.clip, experiment.networks
        assert [clip.published_keys, clip.max_stride, networks.unet.head_dim] == expected
        assert networks.compat == compat


def test_only_the_autoencoder_reads_times_between_frames() -> None:
    """Fails when the generator's clips are slower than those it is judged by, or nobody reads
    slower ones.
    """
    experiment = parse(changed("clip.max_stride", 2))
    strides = {stage: stage_clip(experiment, stage).max_stride for stage in STAGES}
    assert strides == {"codec": 0, "autoencoder": 2, "generator": 0}


def test_derived_values_follow_from_other_sections(experiment: Experiment) -> None:
    """Fails when a value that follows from another section is not handed on."""
    networks = experiment.networks
    assert networks.frame_features.channels == networks.unet.channels == 16
    assert networks.frame_features.widths == networks.unet.feature_widths
    assert networks.frame_features.global_downsamples == 1
    assert networks.unet.latent_channels == networks.frame_codec.latent_channels
    assert networks.generator.global_channels == networks.video_encoder.global_channels
    assert networks.condition.width == networks.generator.context_width == 16
    assert networks.num_key_frames == experiment.clip.num_key_frames
    assert networks.global_shape == (4, 4, 16)
    # A whole number where any number is meant is no mistake.
    assert parse(changed("codec.optimizer.learning_rate", 1)).codec.optimizer.learning_rate == 1
