"""The packaged model builtin:sky64: synthetic skies of four classes at 64x64, 16 frames.

    bash launch/sky64.sh

draws the skies, trains and packages it: about five hours on two CPU cores. Run it again to go on.
Or train it by hand, on more devices if there are:

    python -m glober_jax.prepare synthetic_sky --output=data/sky64 --size=64 \\
        --num_videos=3072 --num_test_videos=512 --num_frames=16
    python -m glober_jax.main --config=configs/sky64.py --workdir=runs/train_sky64
"""

import ml_collections

from configs import quickstart


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """There is one size: `arg` must be empty."""
    if arg:
        raise ValueError(f"configs/sky64.py takes no argument, not ':{arg}'")
    config = quickstart.get_config()
    config.data.dir = "data/sky64"
    # 64x64x3 pixels -> 16x16x8 latents -> a 16x16x64 global feature.
    config.frame_size = 64
    # As wide as 16 MB in float16 allow.
    config.model.unet.channels = 48
    config.model.frame_features.head_dim = 16
    # A token for every cell: tokens of 2x2 cells, 256 numbers, lose detail in 176 channels.
    config.model.generator.update({"patch_size": 1, "width": 176, "depth": 5, "heads": 4})
    # The clip's mean over time first, then motion given it: made together, motion is incoherent.
    config.model.generator.lead_channels = 8
    config.model.discriminator.update(
        {"multipliers": (1, 2, 4, 4), "temporal_levels": (1, 2, 3), "spatial_levels": (3,)}
    )
    config.autoencoder.steps = 250
    config.autoencoder.ema_decay = 0.995
    config.autoencoder.optimizer.warmup_steps = 50
    # The shipped weights had 7061, the last 4361 with Muon and the last 2061 with lead channels.
    # They began with those of a generator with tokens of 2x2 cells, trained for 14500; from the
    # beginning in one schedule was not tried.
    config.generator.steps = 8000
    config.generator.ema_decay = 0.9995
    # At 0.012 the last step leaves enough signal in 256 cells to read off their mean: a sample,
    # which begins without any, gets two thirds of the real variety of light and colour.
    config.generator_diffusion.beta_end = 0.018
    config.generator.optimizer.update({"method": "muon", "warmup_steps": 200})
    config.loop.update({"log_every": 50, "preview_every": 0, "checkpoint_every": 500})
    return config
