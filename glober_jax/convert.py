r"""Brings weights that others trained into a workdir, from which `main` then goes on.

    python -m glober_jax.convert sd_vae --input=FILE --config=configs/skytimelapse.py \
        --workdir=runs/sky
    python -m glober_jax.convert sd_unet --input=FILE --config=configs/skytimelapse.py \
        --workdir=runs/sky
    python -m glober_jax.main --config=configs/skytimelapse.py --workdir=runs/sky

`sd_vae` takes the frame codec of Stable Diffusion as the finished codec stage, `sd_unet` the UNet
of Stable Diffusion 1 as what the video decoder begins with; either order will do. FILE holds that
network alone or a whole checkpoint, under the names of the published release or of diffusers, as
.safetensors or as a torch file (.ckpt, .bin, .pt, .pth), of which nothing is run. Stable
Diffusion's constant 0.18215 is not needed: the autoencoder stage measures the scale of the latents
on its own training videos, per channel (`ChannelScale`).
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags
from etils import epath
from ml_collections import config_flags

from glober_jax import cli, config
from glober_jax.errors import UserError
from glober_jax.interop import stable_diffusion

_CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment, e.g. configs/quickstart.py")
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the converted weights go")
_INPUT = flags.DEFINE_string("input", None, "The file of weights to convert")

# What a command gets for each of its flags.
_VALUES = {
    "config": lambda: config.parse(cli.config_value(_CONFIG)),
    "input": lambda: Path(_INPUT.value),
    "workdir": lambda: epath.Path(_WORKDIR.value),
}
# By name: the flags that the command needs, and the function of their values that does it and
# returns what there is to say.
_COMMANDS = {
    "sd_vae": (("config", "input", "workdir"), stable_diffusion.convert_vae),
    "sd_unet": (("config", "input", "workdir"), stable_diffusion.convert_unet),
}


def main(argv: Sequence[str]) -> None:
    if len(argv) != 1 or argv[0] not in _COMMANDS:
        given = f", not {' '.join(argv)!r}" if argv else ""
        raise UserError(
            f"say what to convert, {' or '.join(_COMMANDS)}{given}: python -m glober_jax.convert "
            "sd_vae --input=FILE --config=FILE --workdir=DIR (see --help)"
        )
    (command,) = argv
    names, convert = _COMMANDS[command]
    for name in names:
        if not flags.FLAGS[name].value:
            raise UserError(f"{command} needs --{name} (see --help)")
    print(convert(*(_VALUES[name]() for name in names)))


if __name__ == "__main__":
    cli.run(main)
