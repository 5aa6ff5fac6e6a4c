"""`python -m glober_jax.prepare latents`: a data set encoded once by the codec of a workdir.

Dimension key: F frames, H, W frame size, C colours, h, w latent size, M moments.
"""

import dataclasses
import functools
import hashlib
import shlex

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from glober_jax.data.damage import DamageLog
from glober_jax.data.latent_videos import FRAMES_PER_CALL, SPLIT, Encode, make_latents
from glober_jax.data.source import StoredVideos, open_videos, read_frames
from glober_jax.errors import UserError
from glober_jax.experiment import config
from glober_jax.experiment.options import Experiment
from glober_jax.models.frame_codec import normalise_frames
from glober_jax.models.networks import Networks, Params
from glober_jax.parallel.mesh import MeshShape, make_mesh, put_batch, replicated
from glober_jax.parallel.multihost import first_message
from glober_jax.training.restore import load_codec, load_config


def codec_id(params: Params) -> str:
    """16 hex digits of the codec's parameters."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(jax.device_get(params)):
        digest.update(leaf.tobytes())
    return digest.hexdigest()[:16]


def frame_encoder(networks: Networks, params: Params, mesh: Mesh) -> Encode:
    """Compiled map from up to 64 frames, uint8 [F, H, W, C], to moments, float16 [F, h, w, M].

    Calls are padded to one number of frames, for one program, and sharded over the mesh.
    """
    size = -(-FRAMES_PER_CALL // mesh.size) * mesh.size

    @functools.partial(jax.jit, out_shardings=replicated(mesh))
    def encode(params: Params, frames: jax.Array) -> jax.Array:
        frames = normalise_frames(frames)
        return networks.apply(params, "frame_codec", frames, method="encode")

    def encode_any(frames_FHWC: np.ndarray) -> np.ndarray:
        filled = np.resize(frames_FHWC, (size, *frames_FHWC.shape[1:]))
        moments = jax.device_get(encode(params, put_batch({"frames": filled}, mesh)["frames"]))
        return moments[: len(frames_FHWC)].astype(np.float16)

    return encode_any


def encode_dataset(
    experiment: Experiment,
    source: StoredVideos,
    params: Params,
    mesh: Mesh,
    workdir: epath.Path,
    output: epath.Path,
    damage: DamageLog,
    *,
    overwrite: bool,
    share: tuple[int, int] = (0, 1),
) -> bool:
    """`make_latents` of `source`, the training videos, with the codec of `workdir`."""
    networks, data = experiment.networks, experiment.data
    height, width, channels = networks.latent_shape
    flags = [f"--input={data.dir}", f"--workdir={workdir}", f"--output={output}"]
    return make_latents(
        output,
        source,
        frame_encoder(networks, params, mesh),
        (height, width, 2 * channels),
        codec_id(params),
        flip=data.flip,
        damage=damage,
        command=shlex.join(["python", "-m", "glober_jax.prepare", "latents", *flags]),
        overwrite=overwrite,
        share=share,
    )


def prepare_latents(
    data: str,
    workdir: epath.Path,
    output: epath.Path,
    *,
    share: tuple[int, int],
    overwrite: bool,
) -> bool:
    """Encodes the training videos of a data set with the frame codec of a workdir.

    The workdir's config says whether mirrored frames are encoded too (`data.flip`), and how many
    damaged videos may be left out (`data.max_damaged`). Uses all devices of this machine; of
    several JAX processes each encodes a share of the shards. `share`, for one process: see
    `make_latents`.

    Returns:
      Whether anything was done: False if the output is there already.

    Raises:
      UserError: there is no codec or no data set, frames are not of the codec's size, too many
        videos are damaged, or `output` is not writable or holds something else; or several
        processes with a `share`.
    """
    processes = jax.process_count()
    if processes > 1 and share != (0, 1):
        raise UserError(
            f"the {processes} processes of this run share the work among them: leave out --shards"
        )
    experiment = config.parse(load_config(workdir))
    networks, options = experiment.networks, dataclasses.replace(experiment.data, dir=data)
    experiment = dataclasses.replace(experiment, data=options)
    mesh = make_mesh(MeshShape(), jax.local_devices())
    _, params = load_codec(networks, workdir, mesh)
    source = open_videos(data, SPLIT, options.max_damaged)
    read_frames(source[0], [0], networks.frame_size)
    damage = DamageLog(len(source), options.max_damaged, data)
    where = (mesh, workdir, output, damage)
    encode = functools.partial(
        encode_dataset, experiment, source, params, *where, overwrite=overwrite
    )
    if processes == 1:
        return encode(share=share)
    made = encode(share=(jax.process_index(), processes))
    # A barrier.
    first_message(None)
    if made and jax.process_index() == 0:
        encode(share=(0, 1))
    first_message(None)
    return made
