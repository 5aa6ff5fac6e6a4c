r"""Imports pretrained weights into a workdir, where `main` continues; exports trained ones.

    python -m glober_jax.convert sd_vae --input=FILE --config=configs/skytimelapse.py \
        --workdir=runs/sky
    python -m glober_jax.convert sd_unet --input=FILE --config=configs/skytimelapse.py \
        --config.model.unet.head_dim=0 --workdir=runs/sky
    python -m glober_jax.main --config=configs/skytimelapse.py --config.model.unet.head_dim=0 \
        --config.autoencoder.latent_scale=0.18215 --workdir=runs/sky

`sd_vae` takes the VAE of Stable Diffusion as the finished codec stage, `sd_unet` the UNet of Stable
Diffusion 1 as initial weights of the video decoder, in either order. FILE holds that network or a
whole checkpoint, with names of the published release or of diffusers. The last two flags are what
Stable Diffusion's UNet was trained with; without latent_scale the autoencoder stage measures the
scale of latents per channel.

    python -m glober_jax.convert reference_autoencoder --input=FILE --workdir=runs/sky \
        --config=configs/skytimelapse.py --config.model.compat=reference
    python -m glober_jax.convert reference_generator --input=FILE --workdir=runs/sky \
        --config=configs/skytimelapse.py --config.model.compat=reference

take checkpoints of GLOBER's authors' code as finished stages, and

    python -m glober_jax.convert export --workdir=runs/sky --output=weights

writes the averaged networks of a workdir as .safetensors files with the names of those releases,
which the commands above accept. Every FILE may be .safetensors or a torch file (.ckpt, .bin, .pt,
.pth), no code of which is executed.

    python -m glober_jax.convert export_sampler --workdir=runs/sky --output=sampler \
        [--num_videos=1 --num_frames=16 --platforms=cpu,cuda,tpu --checkpoint=best]

writes the sampler, from seed to frames, as one program that needs JAX but not glober_jax:
sampler.stablehlo, weights.safetensors, and sampler.json with the code that loads them.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags
from etils import epath
from ml_collections import config_flags

from glober_jax import cli, media
from glober_jax.errors import UserError
from glober_jax.experiment import config
from glober_jax.experiment.options import Experiment
from glober_jax.interop import exported_sampler, reference_checkpoints, stable_diffusion
from glober_jax.pretrained import load_model
from glober_jax.training.packaged_model import refuse_packaged
from glober_jax.training.restore import load_config, load_texts

_CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment, e.g. configs/quickstart.py")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Target of converted weights, or source of exported ones"
)
_INPUT = flags.DEFINE_string("input", None, "The file of weights to convert")
_OUTPUT = flags.DEFINE_string("output", None, "Folder that an export writes to")
_NUM_VIDEOS = flags.DEFINE_integer("num_videos", 1, "Videos per call of an exported sampler", 1)
_NUM_FRAMES = flags.DEFINE_integer("num_frames", 16, "Frames of each of these videos", 1)
_PLATFORMS = flags.DEFINE_list(
    "platforms",
    ["cpu", "cuda", "tpu"],
    f"Of an exported sampler, from {', '.join(exported_sampler.PLATFORMS)}",
)
_CHECKPOINT = flags.DEFINE_enum(
    "checkpoint",
    "newest",
    ["newest", "best"],
    "Of an exported sampler's generator; best is by FVD",
)


def _export_sampler(experiment: Experiment, workdir: epath.Path, output: epath.Path) -> str:
    exported_sampler.check_platforms(_PLATFORMS.value)
    media.make_folder(output)
    model = load_model(experiment, workdir, checkpoint=_CHECKPOINT.value)
    texts = load_texts(workdir)
    about = {
        "class_names": model.class_names,
        "text_encoder": texts.encoder if texts else None,
        "workdir": str(workdir),
        "checkpoint_steps": model.trained_steps,
        "command": cli.command_line("convert"),
    }
    return exported_sampler.write_sampler(
        model,
        output,
        num_videos=_NUM_VIDEOS.value,
        num_frames=_NUM_FRAMES.value,
        platforms=_PLATFORMS.value,
        about=about,
    )


_IMPORTS = {
    "sd_vae": stable_diffusion.convert_vae,
    "sd_unet": stable_diffusion.convert_unet,
    "reference_autoencoder": reference_checkpoints.convert_autoencoder,
    "reference_generator": reference_checkpoints.convert_generator,
}
_EXPORTS = {
    "export": reference_checkpoints.export,
    "export_sampler": _export_sampler,
}


def main(argv: Sequence[str]) -> None:
    command = cli.one_of((*_IMPORTS, *_EXPORTS), argv, "convert")
    if command in _EXPORTS:
        _require(command, "workdir", "output")
        workdir, output = epath.Path(_WORKDIR.value), epath.Path(_OUTPUT.value)
        print(_EXPORTS[command](config.parse(load_config(workdir)), workdir, output))
        return
    _require(command, "config", "input", "workdir")
    refuse_packaged(_WORKDIR.value)
    experiment = config.parse(cli.config_value(_CONFIG))
    print(_IMPORTS[command](experiment, Path(_INPUT.value), epath.Path(_WORKDIR.value)))


def _require(command: str, *names: str) -> None:
    for name in names:
        if not flags.FLAGS[name].value:
            raise UserError(f"{command} needs --{name} (see --help)")


if __name__ == "__main__":
    cli.run(main)
