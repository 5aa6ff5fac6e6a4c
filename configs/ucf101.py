r"""GLOBER on UCF-101 at the published size: 256x256, 16 frames, conditioned on its 101 classes.

    python -m glober_jax.prepare ucf101 --input=UCF-101 --output=data/ucf101
    python -m glober_jax.main --config=configs/ucf101.py --workdir=gs://BUCKET/ucf101

`--input` is the folder that the archive unpacks to, with the official lists, ucfTrainTestlist, in
it or beside it; docs/data.md has the rest. Without classes:

    python -m glober_jax.main --config=configs/ucf101.py:unconditional --workdir=gs://BUCKET/ucf101

Hardware and sizes are those of configs/skytimelapse.py. On a CPU, with the four classes of the
synthetic sky:

    python -m glober_jax.prepare synthetic_sky --output=data/synthetic_sky_64 --size=64
    python -m glober_jax.main --config=configs/ucf101.py:runlocal --workdir=runs/ucf101_local
"""

import ml_collections

from configs import skytimelapse


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """`arg` is "" for class-conditional, "unconditional", or "runlocal"."""
    if arg not in ("", "unconditional", "runlocal"):
        raise ValueError(
            f"configs/ucf101.py knows ':unconditional', ':runlocal' and no argument, not ':{arg}'"
        )
    config = skytimelapse.get_config("runlocal" if arg == "runlocal" else "")
    if arg != "unconditional":
        num_classes = 4 if arg == "runlocal" else 101
        config.model.condition.update({"kind": "class", "num_classes": num_classes})
        config.generator.condition_dropout = 0.1
    if arg != "runlocal":
        config.data.dir = "data/ucf101"
    return config
