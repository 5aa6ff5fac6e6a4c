"""`python -m glober_jax.prepare latents`: a data set encoded by the codec of a workdir."""

from pathlib import Path

from etils import epath

from glober_jax import config
from glober_jax.data.damage import DamageLog
from glober_jax.data.latents import SPLIT
from glober_jax.data.source import open_videos
from glober_jax.errors import UserError
from glober_jax.parallel.mesh import MeshShape, make_mesh
from glober_jax.training.latent_cache import latent_cache
from glober_jax.training.restore import load_codec, load_config


def prepare_latents(
    data: str, workdir: epath.Path, output: Path, *, overwrite: bool = False
) -> bool:
    """Encodes the training videos of a data set with the frame codec of a workdir.

    Mirrored frames are encoded too where the workdir's config has `data.flip`, and its
    `data.max_damaged` says how many damaged records may be left out. All devices of this machine
    share the work.

    Args:
      data: the --output of `glober_jax.prepare`.
      workdir: where the codec stage is finished.
      output: the folder of the cache and nothing else.
      overwrite: whether to replace a different cache there.

    Returns:
      Whether anything was done: False if it is there already.

    Raises:
      UserError: there is no codec or no data set, frames are not of the codec's size, too many
        videos are damaged, or `output` is not writable or holds something else.
    """
    experiment = config.parse(load_config(workdir))
    networks = experiment.networks
    mesh = make_mesh(MeshShape(data=-1, fsdp=1, tensor=1))
    _, params = load_codec(networks, workdir, mesh)
    max_damaged = experiment.data.max_damaged
    source = open_videos(data, SPLIT, max_damaged)
    damage = DamageLog(len(source), max_damaged, data)
    height, width = source[0].read([0]).shape[1:3]
    if (height, width) != (networks.frame_size, networks.frame_size):
        raise UserError(
            f"the frames in {data} are {height}x{width}, those of the codec in {workdir} "
            f"{networks.frame_size}x{networks.frame_size}"
        )
    cache = latent_cache(
        source, networks, params, mesh, flip=experiment.data.flip,
        damage=damage, data=data, workdir=workdir,
        output=output,
    )  # fmt: skip
    return cache.make(output, overwrite=overwrite)
