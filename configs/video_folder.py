r"""GLOBER on your own videos, on whatever machine you have.

    python -m glober_jax.prepare video_folder --input=DIR --output=data/video_folder
    python -m glober_jax.main --config=configs/video_folder.py --workdir=runs/video_folder

64x64 pixels and small networks: minutes on two CPU cores for a few videos. For a data set worth a
GPU, 128x128 with networks about a tenth of the published size:

    python -m glober_jax.prepare video_folder --input=DIR --output=data/video_folder --size=128
    python -m glober_jax.main --config=configs/video_folder.py:gpu --workdir=runs/video_folder

The larger frame codec's loss needs LPIPS: python -m pip install -r requirements-lpips.txt. With
class folders (prepare --class_folders) add --config.model.condition.kind=class
--config.model.condition.num_classes=N.
"""

import ml_collections

from configs import quickstart


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """`arg` is "" for the small size or "gpu"."""
    if arg not in ("", "gpu"):
        raise ValueError(f"configs/video_folder.py knows ':gpu' and no argument, not ':{arg}'")
    config = quickstart.get_config()
    config.data.dir = "data/video_folder"
    # 64x64x3 pixels -> 8x8x8 latents -> an 8x8x16 global feature.
    config.frame_size = 64
    config.model.frame_codec.update(
        {"channels": 16, "multipliers": (1, 2, 4, 4), "latent_channels": 8}
    )
    config.model.discriminator.update(
        {"multipliers": (1, 2, 4, 4), "temporal_levels": (1, 2, 3), "spatial_levels": (3,)}
    )
    config.model.condition.update({"kind": "unconditional", "num_classes": 0})
    # Frames are four times as large as the quick start's, and few videos are learned sooner.
    config.codec.steps = 1000
    config.generator.steps = 600
    return _gpu(config) if arg == "gpu" else config


def _gpu(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    config.dtype = "bfloat16"
    config.frame_size = 128
    config.data.update({"cache_latents": False, "flip": True, "threads": 4})
    config.clip.update({"num_key_frames": 8, "num_target_frames": 2})
    model = config.model
    # 128x128x3 pixels -> 16x16x4 latents -> an 8x8x16 global feature.
    model.frame_codec.update(
        {"channels": 64, "blocks_per_level": 2, "latent_channels": 4, "groups": 32}
    )
    model.patch_discriminator.update({"channels": 64, "multipliers": (1, 2, 4, 8), "groups": 32})
    model.video_encoder.update(
        {"channels": 128, "multipliers": (1, 2), "head_dim": 64, "groups": 32}
    )
    model.frame_features.update({"index_slots": 16, "head_dim": 64, "groups": 32})
    model.global_tokens.width = 256
    model.unet.update(
        {
            "channels": 128,
            "multipliers": (1, 2, 4),
            "blocks_per_level": 2,
            "attention_levels": (0, 1, 2),
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
    for stage, steps in {"codec": 50_000, "autoencoder": 100_000, "generator": 100_000}.items():
        config[stage].update({"steps": steps, "batch_size": 32, "ema_decay": 0.9999})
        config[stage].optimizer.update({"learning_rate": 2e-4, "warmup_steps": 1000})
    config.codec.perceptual_weight = 1.0
    config.codec.adversarial.update({"weight": 0.02, "start_step": 15_000, "warmup_steps": 5000})
    config.autoencoder.adversarial.update(
        {"weight": 0.1, "start_step": 70_000, "warmup_steps": 5000}
    )
    config.loop.update({"log_every": 100, "preview_every": 5000, "checkpoint_every": 1000})
    config.sampling.update({"steps": 50, "chunk_frames": 128})
    return config
