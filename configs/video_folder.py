r"""GLOBER on your own videos, on whatever machine you have.

    python -m glober_jax.prepare video_folder --input=DIR --output=data/video_folder
    python -m glober_jax.main --config=configs/video_folder.py --workdir=runs/video_folder

64x64 pixels and small networks: minutes on two CPU cores for a few videos. For a data set worth a
GPU, 128x128 with networks about a tenth of the published size:

    python -m glober_jax.prepare video_folder --input=DIR --output=data/video_folder --size=128
    python -m glober_jax.main --config=configs/video_folder.py:gpu --workdir=runs/video_folder

The frame codec is the one that comes with the package. To train one on your own videos add
--config.codec.pretrained= (nothing after the sign); at 128x128 its loss needs LPIPS: python -m pip
install -r requirements-lpips.txt. With class folders (prepare --class_folders) add
--config.model.condition.kind=class --config.model.condition.num_classes=N, and, to sample with
--guidance_condition above 1, --config.generator.condition_dropout=0.1.
"""

import ml_collections

from configs import quickstart


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """`arg` is "" for the small size or "gpu"."""
    if arg not in ("", "gpu"):
        raise ValueError(f"configs/video_folder.py knows ':gpu' and no argument, not ':{arg}'")
    config = quickstart.get_config()
    config.data.dir = "data/video_folder"
    # 64x64x3 pixels -> 16x16x8 latents -> a 16x16x64 global feature.
    config.frame_size = 64
    config.model.generator.patch_size = 2
    config.model.discriminator.update(
        {"multipliers": (1, 2, 4, 4), "temporal_levels": (1, 2, 3), "spatial_levels": (3,)}
    )
    config.model.condition.update({"kind": "unconditional", "num_classes": 0})
    config.generator.condition_dropout = 0.0
    # Few videos are learned sooner than many.
    config.generator.steps = 600
    return _gpu(config) if arg == "gpu" else config


def _gpu(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    config.dtype = "bfloat16"
    config.frame_size = 128
    config.data.update({"cache_latents": False, "flip": True, "threads": 4})
    config.clip.update({"num_key_frames": 8, "num_target_frames": 2, "max_stride": 2})
    model = config.model
    # 128x128x3 pixels -> 32x32x8 latents -> a 16x16x64 global feature.
    model.patch_discriminator.update({"channels": 64, "multipliers": (1, 2, 4, 8), "groups": 32})
    model.video_encoder.update(
        {"channels": 128, "multipliers": (1, 2), "head_dim": 64, "groups": 32}
    )
    model.frame_features.update({"head_dim": 64, "groups": 32})
    model.global_tokens.width = 256
    model.unet.update(
        {
            "channels": 128,
            "multipliers": (1, 2, 4),
            "blocks_per_level": 2,
            "attention_levels": (1, 2),
            "heads": 8,
            "groups": 32,
        }
    )
    model.discriminator.update(
        {
            "channels": 32,
            "multipliers": (1, 2, 3, 4, 4),
            "temporal_levels": (1, 2, 3, 4),
            "spatial_levels": (4,),
            "head_dim": 32,
            "groups": 32,
        }
    )
    model.generator.update({"width": 512, "depth": 12, "heads": 8, "context_width": 256})
    # The codec's are those of one's own, with config.codec.pretrained= (nothing).
    for stage, steps in {"codec": 50_000, "autoencoder": 100_000, "generator": 100_000}.items():
        config[stage].update({"steps": steps, "batch_size": 32, "ema_decay": 0.9999})
        config[stage].optimizer.update({"learning_rate": 2e-4, "warmup_steps": 1000})
    config.codec.update({"perceptual_weight": 1.0, "kl_weight": 1e-6})
    config.codec.adversarial.update({"weight": 0.02, "start_step": 15_000, "warmup_steps": 5000})
    config.autoencoder.adversarial.update(
        {"weight": 0.1, "start_step": 70_000, "warmup_steps": 5000}
    )
    config.loop.update({"log_every": 100, "preview_every": 5000, "checkpoint_every": 1000})
    config.sampling.steps = 50
    return config
