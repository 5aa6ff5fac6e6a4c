"""The stages of an experiment, by name: what training, planning and conversion build alike."""

from jax.sharding import AbstractMesh, Mesh

from glober_jax.experiment import Experiment
from glober_jax.training import autoencoder, codec, generator

STAGES = (codec.NAME, autoencoder.NAME, generator.NAME)

AnyStage = codec.CodecStage | autoencoder.AutoencoderStage | generator.GeneratorStage


def build_stage(experiment: Experiment, name: str, mesh: Mesh | AbstractMesh) -> AnyStage:
    """The pure functions of stage `name`: `create`, `programs`, `step` and `gradients`."""
    networks, options, seed = experiment.networks, getattr(experiment, name), experiment.seed
    if name == codec.NAME:
        return codec.CodecStage(networks, options, seed, mesh)
    if name == autoencoder.NAME:
        return autoencoder.AutoencoderStage(networks, experiment.diffusion, options, seed, mesh)
    process = experiment.generator_diffusion
    return generator.GeneratorStage(networks, process, options, seed, mesh)
