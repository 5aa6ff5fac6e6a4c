"""GLOBER on Sky Time-lapse at the published size: 256x256, 16 frames, unconditional.

    python -m glober_jax.prepare sky_timelapse --input=sky_timelapse --output=data/sky_timelapse
    python -m glober_jax.main --config=configs/skytimelapse.py --workdir=gs://BUCKET/sky

The codec's loss needs LPIPS (python -m pip install -r requirements-lpips.txt), unless the run
begins with Stable Diffusion's codec.

Hardware: a TPU v4-32 slice or larger (941 M trained parameters in the autoencoder, 674 M in the
generator; set config.mesh.fsdp so that a shard fits). The same structure, shrunk to run on a CPU:

    python -m glober_jax.prepare synthetic_sky --output=data/synthetic_sky_64 --size=64
    python -m glober_jax.main --config=configs/skytimelapse.py:runlocal --workdir=runs/sky_local
"""

import ml_collections


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """`arg` is "" for the published size or "runlocal"."""
    if arg not in ("", "runlocal"):
        raise ValueError(f"configs/skytimelapse.py knows ':runlocal' and no argument, not ':{arg}'")
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.dtype = "bfloat16"
    config.frame_size = 256
    config.mesh = {"data": -1, "fsdp": 8, "tensor": 1, "slices": -1}
    config.data = {
        "dir": "data/sky_timelapse",
        "flip": True,
        "cache_latents": False,
        "latents_dir": "",
        # A bad video in a hundred is named and passed over, more end the run.
        "max_damaged": 0.01,
        # Decoding lets go of Python's lock, so threads use several cores. Worker processes go
        # further, but copy every batch once more.
        "workers": 0,
        "threads": 8,
        "prefetch": 8,
    }
    config.clip = {
        "num_frames": 16,
        "num_key_frames": 8,
        "num_target_frames": 2,
        "stride": 1,
        # The autoencoder also learns frames half way between a clip's.
        "max_stride": 2,
    }

    # Memory limits the batch of the autoencoder: what its gradient needs is computed again, block
    # by block. "dots" and "none" are faster and keep more.
    config.model = {
        "compat": "none",
        # 256x256x3 pixels -> 32x32x4 latents -> one 16x16x16 global feature per clip.
        "frame_codec": {
            "channels": 128,
            "multipliers": (1, 2, 4, 4),
            "blocks_per_level": 2,
            "latent_channels": 4,
            "initial_log_variance": 0.0,
            "groups": 32,
            # A step encodes 160 x 10 frames: a tenth of them at once, over all devices.
            "remat": "blocks",
            "chunk_frames": 160,
        },
        # Every logit sees 70x70 pixels.
        "patch_discriminator": {"channels": 64, "multipliers": (1, 2, 4, 8), "groups": 32},
        "video_encoder": {
            "channels": 320,
            "multipliers": (1, 2),
            "blocks_per_level": 2,
            "attention_levels": (0, 1),
            "global_channels": 16,
            "initial_log_variance": 0.0,
            "head_dim": 64,
            "groups": 32,
            "remat": "blocks",
        },
        "frame_features": {"index_slots": 16, "head_dim": 64, "groups": 32, "remat": "blocks"},
        "global_tokens": {"width": 768},
        "unet": {
            "channels": 320,
            "multipliers": (1, 2, 4, 4),
            "blocks_per_level": 2,
            "attention_levels": (0, 1, 2),
            # 0 with the weights of Stable Diffusion, which has `heads` heads at every level.
            "head_dim": 64,
            "heads": 8,
            "groups": 32,
            "remat": "blocks",
        },
        "discriminator": {
            "channels": 64,
            "multipliers": (1, 2, 3, 4, 4),
            "blocks_per_level": 1,
            "temporal_levels": (1, 2, 3, 4),
            "spatial_levels": (4,),
            "head_dim": 32,
            "groups": 32,
            "remat": "blocks",
        },
        "condition": {"kind": "unconditional", "num_classes": 0, "length": 64},
        "generator": {
            "width": 1152,
            "depth": 28,
            "heads": 16,
            "patch_size": 1,
            "context_width": 768,
            "remat": "none",
        },
    }
    process = {
        "num_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.0120,
        "prediction": "eps",
        "min_snr_gamma": 0.0,
    }
    config.diffusion = dict(process)
    config.generator_diffusion = dict(process)

    config.codec = {
        "steps": 200_000,
        "batch_size": 64,
        "micro_batches": 1,
        "frames_per_clip": 1,
        "kl_weight": 1e-6,
        "perceptual_weight": 1.0,
        "ema_decay": 0.9999,
        "optimizer": _adamw(learning_rate=1e-4, warmup_steps=1000),
        "adversarial": {
            "weight": 0.02,
            "start_step": 50_000,
            "warmup_steps": 5000,
            "optimizer": _adamw(learning_rate=1e-4, warmup_steps=1000) | {"beta1": 0.5},
        },
    }
    config.autoencoder = {
        "steps": 200_000,
        "batch_size": 160,
        "micro_batches": 1,
        # 0.18215 for Stable Diffusion's codec and UNet (see glober_jax.convert).
        "latent_scale": 0.0,
        "kl_weight": 1e-7,
        "domain_dropout": 0.1,
        "key_dropout": 0.1,
        "ema_decay": 0.9999,
        "optimizer": _adamw(learning_rate=1e-4, warmup_steps=1000),
        "adversarial": {
            "weight": 0.1,
            "start_step": 150_000,
            "warmup_steps": 5000,
            "clip_stride": 2,
            "optimizer": _adamw(learning_rate=1e-4, warmup_steps=1000),
        },
    }
    config.generator = {
        "steps": 300_000,
        "batch_size": 192,
        "micro_batches": 1,
        "condition_dropout": 0.0,
        "ema_decay": 0.9999,
        "optimizer": _adamw(learning_rate=1e-4, warmup_steps=1000),
    }

    config.loop = {
        "log_every": 100,
        "preview_every": 5000,
        "checkpoint_every": 1000,
        "keep_checkpoints": 3,
        "max_skipped": 10,
        "slow_step": 10.0,
    }
    config.sampling = {
        "sampler": "ddim",
        "steps": 50,
        "spacing": "leading",
        "eta": 0.0,
        "threshold": 0.0,
        "video_scale": 1.5,
        "domain_scale": 1.5,
        "decoder_interval": {"low": 0.0, "high": 1.0},
        "condition_scale": 1.0,
        "condition_interval": {"low": 0.0, "high": 1.0},
        "shared_noise": 0.0,
        "chunk_frames": 128,
        "fps": 8.0,
    }
    config.evaluation = {"protocol": "styleganv_16f", "grade_every": 10_000, "grade_clips": 256}
    return _run_local(config) if arg == "runlocal" else config


def _adamw(learning_rate: float, warmup_steps: int) -> dict[str, float | int | str]:
    return {
        "learning_rate": learning_rate,
        "warmup_steps": warmup_steps,
        "decay": "constant",
        "beta1": 0.9,
        "beta2": 0.999,
        "weight_decay": 0.01,
        "clip_norm": 1.0,
    }


def _run_local(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Every level, block kind and loss of the full size, with narrow layers and few steps."""
    config.dtype = "float32"
    config.frame_size = 64
    config.mesh.fsdp = 1
    config.data.update({"dir": "data/synthetic_sky_64", "threads": 2, "prefetch": 4})
    model = config.model
    model.frame_codec.update({"channels": 16, "blocks_per_level": 1, "groups": 8})
    model.frame_codec.chunk_frames = 0
    for name in ("frame_codec", "video_encoder", "frame_features", "unet", "discriminator"):
        model[name].remat = "none"
    model.patch_discriminator.update({"channels": 16, "groups": 8})
    model.video_encoder.update({"channels": 32, "blocks_per_level": 1, "head_dim": 32, "groups": 8})
    model.frame_features.update({"head_dim": 32, "groups": 8})
    model.global_tokens.width = 64
    model.unet.update({"channels": 32, "blocks_per_level": 1, "head_dim": 8, "groups": 8})
    model.discriminator.update({"channels": 16, "head_dim": 16, "groups": 8})
    model.generator.update({"width": 64, "depth": 2, "heads": 4, "context_width": 64})
    for stage in ("codec", "autoencoder", "generator"):
        config[stage].update({"steps": 40, "batch_size": 4, "ema_decay": 0.95})
        config[stage].optimizer.update({"learning_rate": 1e-3, "warmup_steps": 5})
    # Every loss but LPIPS, whose weights are an extra to install.
    config.codec.perceptual_weight = 0.0
    for stage in ("codec", "autoencoder"):
        config[stage].adversarial.update({"start_step": 30, "warmup_steps": 5})
        config[stage].adversarial.optimizer.warmup_steps = 5
    config.loop.update({"log_every": 10, "preview_every": 0, "checkpoint_every": 20})
    config.sampling.steps = 10
    config.evaluation.update({"protocol": "small", "grade_every": 0})
    return config
