r"""GLOBER on WebVid at the published size: 256x256, 16 frames, conditioned on captions.

    pip install transformers torch
    python -m glober_jax.prepare webvid --input=webvid --output=data/webvid \
        --clip=clip-vit-large-patch14
    python -m glober_jax.main --config=configs/webvid.py --workdir=gs://BUCKET/webvid
    python -m glober_jax.sample --workdir=gs://BUCKET/webvid --output=waves \
        --clip=clip-vit-large-patch14 --prompt="waves on a beach"

`--input` holds the videos, each with its caption beside it (0001.mp4, 0001.txt), as downloaders
leave them; or name WebVid's own table, or one of path,caption, with --captions=FILE. `--clip` is a
copy of openai/clip-vit-large-patch14. Every video then has its caption's 77 tokens of 768,
118 kB. Training needs neither transformers nor PyTorch. Hardware and sizes are those of
configs/skytimelapse.py. On a CPU, with some captioned videos of your own:

    python -m glober_jax.prepare webvid --input=DIR --output=data/webvid_64 --size=64 \
        --clip=clip-vit-large-patch14
    python -m glober_jax.main --config=configs/webvid.py:runlocal --workdir=runs/webvid_local
"""

import ml_collections

from configs import skytimelapse

# What CLIP ViT-L/14 makes of a caption.
_LENGTH, _WIDTH = 77, 768


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """`arg` is "" for the published size or "runlocal"."""
    if arg not in ("", "runlocal"):
        raise ValueError(f"configs/webvid.py knows ':runlocal' and no argument, not ':{arg}'")
    config = skytimelapse.get_config(arg)
    config.data.dir = "data/webvid_64" if arg == "runlocal" else "data/webvid"
    config.model.condition.update({"kind": "text", "length": _LENGTH})
    config.model.generator.context_width = _WIDTH
    config.generator.condition_dropout = 0.1
    # Mirroring would make "to the left" a lie.
    config.data.flip = False
    # Samples follow their prompts more closely.
    config.sampling.condition_scale = 7.5
    return config
