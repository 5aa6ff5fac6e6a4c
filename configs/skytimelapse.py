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

from glober_jax.experiment.config import defaults


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """`arg` is "" for the published size or "runlocal"."""
    if arg not in ("", "runlocal"):
        raise ValueError(f"configs/skytimelapse.py knows ':runlocal' and no argument, not ':{arg}'")
    # The defaults of the networks are the published sizes: 256x256x3 pixels -> 32x32x4 latents ->
    # one 16x16x16 global feature per clip.
    config = defaults()
    config.dtype = "bfloat16"
    config.frame_size = 256
    config.mesh.fsdp = 8
    # A bad video in a hundred is named and passed over, more end the run. Decoding lets go of
    # Python's lock, so threads use several cores. Worker processes go further, but copy every
    # batch once more.
    config.data.update({"dir": "data/sky_timelapse", "flip": True, "max_damaged": 0.01})
    config.data.update({"threads": 8, "prefetch": 8})
    # The autoencoder also learns frames half way between a clip's.
    config.clip.max_stride = 2
    config.model.condition.kind = "unconditional"
    # Memory limits the batch of the autoencoder: what its gradient needs is computed again, block
    # by block. "dots" and "none" are faster and keep more.
    for name in ("frame_codec", "video_encoder", "frame_features", "unet", "discriminator"):
        config.model[name].remat = "blocks"
    # 0 with the weights of Stable Diffusion, which has 8 heads at every level.
    config.model.unet.head_dim = 64
    # A step encodes 160 x 10 frames: a tenth of them at once, over all devices.
    config.model.frame_codec.chunk_frames = 160
    config.update(_training())
    config.loop.update({"log_every": 100, "preview_every": 5000, "keep_checkpoints": 3})
    config.sampling.update({"spacing": "leading", "video_scale": 1.5, "domain_scale": 1.5})
    config.evaluation.update(
        {"protocol": "styleganv_16f", "grade_every": 10_000, "grade_clips": 256}
    )
    return _run_local(config) if arg == "runlocal" else config


def _training() -> dict[str, dict]:
    warm = {"warmup_steps": 1000}
    return {
        "codec": {
            "steps": 200_000,
            "batch_size": 64,
            "frames_per_clip": 1,
            "perceptual_weight": 1.0,
            "ema_decay": 0.9999,
            "optimizer": warm,
            "adversarial": {
                "weight": 0.02,
                "start_step": 50_000,
                "warmup_steps": 5000,
                "optimizer": {"beta1": 0.5, **warm},
            },
        },
        # config.autoencoder.latent_scale is 0.18215 for Stable Diffusion's codec and UNet (see
        # glober_jax.convert).
        "autoencoder": {
            "steps": 200_000,
            "batch_size": 160,
            "optimizer": warm,
            "adversarial": {
                "start_step": 150_000,
                "warmup_steps": 5000,
                "clip_stride": 2,
                "optimizer": warm,
            },
        },
        "generator": {
            "steps": 300_000,
            "batch_size": 192,
            "condition_dropout": 0.0,
            "optimizer": warm,
        },
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
