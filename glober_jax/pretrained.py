"""A trained workdir as a model to call, from a notebook or a command.

from glober_jax import pretrained

model = pretrained.load("runs/quickstart")
frames = model.decode(model.generate_globals(4), [0.0, 0.25, 0.5, 0.75])
"""

from etils import epath
from jax.sharding import Mesh

from glober_jax.experiment import config
from glober_jax.experiment.options import Experiment
from glober_jax.parallel.mesh import make_mesh
from glober_jax.sampling.glober import Glober
from glober_jax.sampling.options import SamplingOptions
from glober_jax.training import autoencoder, generator
from glober_jax.training.checkpoint import Which
from glober_jax.training.restore import (
    load_classes,
    load_config,
    load_feature_model,
    load_frame_model,
)
from glober_jax.values import check_value


def load(workdir: epath.PathLike, *, checkpoint: Which = "newest") -> Glober:
    """The model in a workdir that `glober_jax.main` trained, on all devices, as its config samples.

    Args:
      workdir: nothing else is needed; a folder or a gs:// path.
      checkpoint: of the generator: the newest, or the best of those graded.

    Raises:
      UserError: nothing was trained there, a stage is missing, or there is no such `checkpoint`.
    """
    check_value(checkpoint, Which, "checkpoint")
    experiment = config.parse(load_config(workdir))
    mesh = make_mesh(experiment.mesh)
    return load_model(experiment, workdir, experiment.sampling, mesh, checkpoint)


def load_model(
    experiment: Experiment,
    workdir: epath.PathLike,
    options: SamplingOptions,
    mesh: Mesh,
    checkpoint: Which = "newest",
) -> Glober:
    """`load` for an experiment that was parsed, on a mesh that is there, sampled by `options`."""
    networks = experiment.networks
    frame_step, frame_model = load_frame_model(networks, workdir, mesh)
    feature_step, feature_model = load_feature_model(networks, workdir, mesh, checkpoint)
    return Glober(
        networks,
        experiment.clip,
        experiment.diffusion,
        experiment.generator_diffusion,
        options,
        frame_model,
        feature_model,
        load_classes(workdir),
        {autoencoder.NAME: frame_step, generator.NAME: feature_step},
        mesh,
        config.branch_shares(experiment),
    )
