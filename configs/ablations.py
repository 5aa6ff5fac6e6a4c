"""GLOBER with one part changed or left out, beside the published design, at the quick start's size.

    bash launch/ablations.sh                                 # all rows, on a CPU
    bash launch/ablations.sh --accelerator=gpu --size=64

or one row alone, for as many steps as the quick start:

    python -m glober_jax.main --config=configs/ablations.py:no_ema --workdir=runs/no_ema

The argument is a row's name, and with ",64" after it frames have 64x64 pixels.
"""

from typing import Any, NamedTuple

import ml_collections

from configs import quickstart


class Row(NamedTuple):
    """A row of the table: a line about it, and where its config differs from the quick start's."""

    description: str
    overrides: dict[str, Any]


# Four steps are enough for a decoder that predicts x0 only.
_FULLY_DECODED = {"sampling.decoder_steps": 0}
_EPS = {
    "diffusion.prediction": "eps",
    "generator_diffusion.prediction": "eps",
    **_FULLY_DECODED,
}
_V = {"diffusion.prediction": "v", "generator_diffusion.prediction": "v", **_FULLY_DECODED}
_PUBLISHED = {
    **_EPS,
    "model.compat": "reference",
    "model.frame_features.index_slots": 16,
    "model.generator.feed_forward": "dense",
    "model.generator.depth": 6,
    "autoencoder.kl_weight": 1e-7,
    "autoencoder.domain_dropout": 0.1,
    "autoencoder.key_dropout": 0.1,
    "autoencoder.ema_decay": 0.0,
    "generator.ema_decay": 0.0,
    "autoencoder.adversarial.weight": 0.1,
    "sampling.sampler": "ddim",
    "sampling.spacing": "leading",
    "sampling.steps": 50,
    "sampling.video_scale": 1.5,
    "sampling.domain_scale": 1.5,
    "sampling.shared_noise": 0.0,
}

# The row of the plain video diffusion model.
PLAIN_VIDEO = "plain_video"

ROWS = {
    "published": Row(
        "the published design: noise prediction, an adversary whose gradient does not reach the "
        "decoder, no average of the weights",
        {**_PUBLISHED, "autoencoder.adversarial.reaches_decoder": False},
    ),
    "published_adversary": Row("published, with an adversary that works", _PUBLISHED),
    "ours": Row("ours: the quick start's config, without the adversary", {}),
    "adversary": Row(
        "ours with the adversary for the last seventh of the steps",
        {"autoencoder.adversarial.weight": 0.01},
    ),
    "no_global_tokens": Row(
        "the global feature reaches the UNet by the frame features alone",
        {"model.global_tokens.reads_global": False},
    ),
    "no_frame_features": Row(
        "the global feature reaches the UNet by the global tokens alone; maps tell the index only",
        {"model.frame_features.reads_global": False},
    ),
    PLAIN_VIDEO: Row(
        "no global feature: video diffusion, the same UNet with attention between all frames",
        {"autoencoder.batch_size": 4},
    ),
    "key_frames_8": Row("8 key frames instead of all 16", {"clip.num_key_frames": 8}),
    "key_frames_4": Row(
        "4 key frames, and as many channels as they need",
        {"clip.num_key_frames": 4, "model.video_encoder.global_channels": 32},
    ),
    "global_channels_32": Row(
        "32 channels of the global feature instead of 64",
        {"model.video_encoder.global_channels": 32},
    ),
    "target_frames_2": Row(
        "2 target frames of each clip instead of 3", {"clip.num_target_frames": 2}
    ),
    "dense_feed_forward": Row(
        "the generator's feed-forward layers as published: they see one token",
        {"model.generator.feed_forward": "dense"},
    ),
    "eps": Row("noise is predicted instead of x0", _EPS),
    "v": Row("velocity is predicted", _V),
    "v_min_snr": Row(
        "velocity, weighted by min-SNR with gamma 5",
        {**_V, "diffusion.min_snr_gamma": 5.0, "generator_diffusion.min_snr_gamma": 5.0},
    ),
    "no_ema": Row(
        "the last weights instead of their average",
        {"autoencoder.ema_decay": 0.0, "generator.ema_decay": 0.0},
    ),
    "own_noise": Row("every frame starts from noise of its own", {"sampling.shared_noise": 0.0}),
}


def get_config(arg: str = "ours") -> ml_collections.ConfigDict:
    """`arg` is "ROW" or "ROW,SIZE"."""
    name, _, size = arg.partition(",")
    if name not in ROWS or size not in ("", "32", "64"):
        raise ValueError(
            f"configs/ablations.py has no '{arg}': give one of {', '.join(ROWS)}, and perhaps ',64'"
        )
    config = quickstart.get_config()
    if size == "64":
        _enlarge(config)
    # Evaluated afterwards, all rows alike.
    config.evaluation.protocol = ""
    config.loop.preview_every = 0
    config.update_from_flattened_dict(ROWS[name].overrides)
    return config


def _enlarge(config: ml_collections.ConfigDict) -> None:
    """64x64 pixels -> 16x16x8 latents -> a 16x16x64 global feature; twice the width."""
    config.frame_size = 64
    config.data.dir = "data/synthetic_sky_64"
    model = config.model
    model.unet.update({"channels": 128, "multipliers": (1, 2, 2), "attention_levels": (1, 2)})
    model.discriminator.multipliers = (1, 2, 4, 4)
    model.generator.update({"width": 256, "depth": 8, "heads": 8, "patch_size": 2})
    config.sampling.steps = 50
