"""Loads a trained workdir as a model to call.

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
from glober_jax.training import autoencoder, generator, restore
from glober_jax.training.checkpoint import Which
from glober_jax.values import check_value


def load(workdir: epath.PathLike, *, checkpoint: Which = "newest") -> Glober:
    """The model in a workdir that `glober_jax.main` trained, on all devices, as its config samples.

    `workdir` is a folder, a gs:// path or a packaged model; `checkpoint` is the generator's: the
    newest, or the best of those graded. Raises `UserError` where nothing was trained, a stage is
    missing, or there is no such checkpoint.
    """
    check_value(checkpoint, Which, "checkpoint")
    experiment = config.parse(restore.load_config(workdir))
    return load_model(experiment, workdir, checkpoint=checkpoint)


def load_model(
    experiment: Experiment,
    workdir: epath.PathLike,
    options: SamplingOptions | None = None,
    mesh: Mesh | None = None,
    checkpoint: Which = "newest",
) -> Glober:
    """`load` of a parsed experiment; sampling options and mesh are by default the config's."""
    networks, mesh = experiment.networks, mesh or make_mesh(experiment.mesh)
    frame_step, frame_model = restore.load_frame_model(networks, workdir, mesh)
    feature_step, feature_model = restore.load_feature_model(networks, workdir, mesh, checkpoint)
    return Glober(
        networks,
        experiment.clip,
        experiment.diffusion,
        experiment.generator_diffusion,
        options or experiment.sampling,
        frame_model,
        feature_model,
        restore.load_classes(workdir),
        {autoencoder.NAME: frame_step, generator.NAME: feature_step},
        mesh,
        config.branch_shares(experiment),
    )
