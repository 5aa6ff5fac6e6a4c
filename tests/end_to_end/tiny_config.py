"""Every stage of the quick start at the smallest size that still has all its parts, for tests."""

import ml_collections

from configs import quickstart


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Clips of 8 frames; `arg` "evaluated" makes them as long as FVD wants, and grades."""
    config = quickstart.get_config()
    # 16x16x3 pixels -> 8x8x4 latents -> an 8x8x4 global feature.
    config.frame_size = 16
    config.clip.update(num_frames=8, num_key_frames=2, num_target_frames=2)
    model = config.model
    config.codec.pretrained = ""
    model.frame_codec.update(channels=8, multipliers=(1, 2), latent_channels=4, patch_size=1)
    model.frame_codec.update(blocks_per_level=1, attention=True, groups=4)
    model.patch_discriminator.update(channels=8, multipliers=(1, 2))
    model.video_encoder.update(channels=8, multipliers=(1,), blocks_per_level=1)
    model.video_encoder.update(global_channels=4, head_dim=8, groups=4)
    model.frame_features.update(index_slots=2, head_dim=8, groups=4)
    model.global_tokens.width = 8
    # Compilation takes nearly all the time, and grows with the number of blocks.
    model.unet.update(channels=8, multipliers=(1,), blocks_per_level=1, attention_levels=())
    model.unet.update(heads=2, groups=4)
    model.discriminator.update(channels=8, multipliers=(1,), head_dim=8, groups=4)
    model.discriminator.update(temporal_levels=(0,), spatial_levels=())
    model.generator.update(width=16, depth=1, heads=2, context_width=8, lead_channels=2)

    for stage in ("codec", "autoencoder", "generator"):
        config[stage].update(steps=6, batch_size=4)
        config[stage].optimizer.update(learning_rate=1e-2, warmup_steps=1)
    config.codec.adversarial.update(weight=0.1, start_step=3, warmup_steps=2)
    # From the start: that is one program less to compile, and the codec begins without.
    config.autoencoder.adversarial.update(weight=0.01, start_step=0, warmup_steps=2)
    config.loop.update(log_every=1, preview_every=3, checkpoint_every=2)
    config.sampling.update(steps=2, decoder_steps=0)
    config.evaluation.protocol = ""
    if arg == "evaluated":
        config.clip.num_frames = 16
        config.evaluation.update(protocol="small", grade_every=4, grade_clips=4)
    return config
