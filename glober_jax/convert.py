r"""Brings weights that others trained into a workdir, as the finished stage that they replace.

    python -m glober_jax.convert sd_vae --input=FILE.safetensors \
        --config=configs/skytimelapse.py --workdir=runs/sky
    python -m glober_jax.main --config=configs/skytimelapse.py --workdir=runs/sky

`sd_vae` takes the frame codec of Stable Diffusion, alone or in a whole checkpoint, under the names
of the published release or of diffusers. `main` then begins with the autoencoder. Stable
Diffusion's constant 0.18215 is not needed: the autoencoder stage measures the scale of the latents
on its own training videos, per channel (`ChannelScale`).
"""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from absl import flags
from etils import epath
from ml_collections import config_flags

from glober_jax import cli, config
from glober_jax.errors import UserError
from glober_jax.experiment import Experiment
from glober_jax.interop.network import choose_naming, import_network
from glober_jax.interop.sd_codec import CHECKPOINT_PREFIX, GROUPS, codec_namings
from glober_jax.interop.weights_file import inside, open_tensors
from glober_jax.models.networks import Params
from glober_jax.parallel.mesh import MeshShape, make_mesh
from glober_jax.training import codec
from glober_jax.training.checkpoint import StageCheckpoints, newest_step
from glober_jax.training.pipeline import STAGES
from glober_jax.training.trained import write_config

_CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment, e.g. configs/quickstart.py")
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the finished stage goes")
_INPUT = flags.DEFINE_string("input", None, "The .safetensors file to convert")
flags.mark_flags_as_required(["config", "workdir", "input"])


def main(argv: Sequence[str]) -> None:
    if list(argv) != ["sd_vae"]:
        given = f", not {' '.join(argv)!r}" if argv else ""
        raise UserError(
            f"say what to convert, sd_vae{given}: python -m glober_jax.convert sd_vae "
            "--input=FILE.safetensors --config=FILE --workdir=DIR (see --help)"
        )
    experiment = config.parse(cli.config_value(_CONFIG))
    convert_sd_vae(experiment, Path(_INPUT.value), epath.Path(_WORKDIR.value))


def convert_sd_vae(experiment: Experiment, file: Path, workdir: epath.Path) -> None:
    """Writes the codec of `file` to `workdir` as a finished codec stage, and says what it was.

    Raises:
      UserError: a file that cannot be read or does not fit the config, or a workdir in which
        something was trained already. Nothing is written then.
    """
    network = experiment.networks.frame_codec
    if network.groups != GROUPS:
        raise UserError(
            f"config.model.frame_codec.groups is {network.groups}, but Stable Diffusion's codec "
            f"normalises in {GROUPS} groups; set it to {GROUPS}"
        )
    for stage in STAGES:
        if (step := newest_step(workdir, stage)) is not None:
            raise UserError(
                f"{workdir} already holds a {stage} checkpoint, of step {step}; "
                "choose another --workdir"
            )
    tensors = inside(open_tensors(file), CHECKPOINT_PREFIX)
    shapes = jax.eval_shape(lambda: experiment.networks.init("frame_codec", jax.random.key(0)))
    naming = choose_naming(tensors, shapes, codec_namings(network))
    try:
        params = import_network(tensors, shapes, naming)
    except UserError as error:
        raise UserError(
            f"{file}: {error}; give the weights of a Stable Diffusion VAE, and its sizes in "
            "config.model.frame_codec"
        ) from error
    _write_codec_stage(experiment, jax.tree.map(jnp.asarray, params), workdir)
    leaves = jax.tree.leaves(params)
    print(
        f"frame codec: {len(leaves)} tensors, {sum(leaf.size for leaf in leaves):,} parameters, "
        f"named as in {naming.title}\n"
        f"written to {workdir}/{codec.NAME} as a stage that is finished at step "
        f"{experiment.codec.steps}; train the rest with python -m glober_jax.main, the same "
        "--config and --workdir"
    )


def _write_codec_stage(experiment: Experiment, params: Params, workdir: epath.Path) -> None:
    # Checkpoints can be restored on any mesh: the config's may be of another machine.
    stage = codec.CodecStage(
        experiment.networks, experiment.codec, experiment.seed, make_mesh(MeshShape())
    )
    state = stage.adopt({"frame_codec": params})
    with StageCheckpoints(workdir, codec.NAME, experiment.source) as checkpoints:
        checkpoints.save(experiment.codec.steps, state)
    write_config(workdir, experiment.source)


if __name__ == "__main__":
    cli.run(main)
