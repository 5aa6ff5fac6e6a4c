r"""GLOBER on TaiChi-HD at the published size: 256x256, 16 frames, unconditional.

    python -m glober_jax.prepare taichi_hd --input=taichi --output=data/taichi_hd
    python -m glober_jax.main --config=configs/taichi_hd.py --workdir=gs://BUCKET/taichi

`--input` holds train/ and test/, as the data set's scripts leave them: MP4 files or folders of
images. Clips are 16 frames one after the other; results that take every fourth need
--config.clip.stride=4 --config.clip.max_stride=8, and --min_frames=61 for prepare. Hardware and
sizes are those of configs/skytimelapse.py. On a CPU, with the synthetic sky:

    python -m glober_jax.prepare synthetic_sky --output=data/synthetic_sky_64 --size=64
    python -m glober_jax.main --config=configs/taichi_hd.py:runlocal --workdir=runs/taichi_local
"""

import ml_collections

from configs import skytimelapse


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """`arg` is "" for the published size or "runlocal"."""
    if arg not in ("", "runlocal"):
        raise ValueError(f"configs/taichi_hd.py knows ':runlocal' and no argument, not ':{arg}'")
    config = skytimelapse.get_config(arg)
    if arg != "runlocal":
        config.data.dir = "data/taichi_hd"
    return config
