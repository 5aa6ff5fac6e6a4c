"""Recorded speed of the authors' released code, in a reduced configuration that ours can run too.

The release (PyTorch) is not part of this package. Its figures were recorded once and are scaled to
another machine by the rate of matrix products, which was measured beside them.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from glober_jax.benchmarking.programs import Program, input_shapes, random_like
from glober_jax.diffusion.guidance import guided_predictor
from glober_jax.experiment import config
from glober_jax.experiment.options import Experiment
from glober_jax.planning.flops import count_flops


class Recorded(NamedTuple):
    """Processor seconds of one call in the release, and what was called."""

    cpu_seconds: float
    call: str


SOURCE = (
    "processor seconds of the authors' release under PyTorch 2.14.1 with attention written out, "
    "float32, on one thread of a loaded CPU: medians of five runs (of three for guided_denoising, "
    "of one to three for joint) that alternated with runs of this package"
)
MATMUL_FLOPS_PER_CPU_SECOND = 33.8e9
RECORDED = {
    "autoencoder": Recorded(6.22, "autoencoder step, 4 clips (4.77 without its recomputation)"),
    "joint": Recorded(10.3, "one generator and two discriminator steps (8.19: one of each)"),
    "generator": Recorded(0.937, "generator step, 4 clips"),
    "unet": Recorded(4.95, "UNet, 48 frames"),
    "unet_gradient": Recorded(3.24, "UNet, its gradient, 8 frames (2.37 without recomputation)"),
    "guided_denoising": Recorded(4.89, "denoising step of 16 frames in 3 branches of guidance"),
}

_ADVERSARY = {"weight": 0.1, "start_step": 1}
_STAGE = {"steps": 2, "batch_size": 4}


def reduced_experiment() -> Experiment:
    """The configuration of `RECORDED`: latents 16x16x4 in place of frames, 64 channels.

    The networks are the published ones (`compat="reference"`), parameter for parameter. Latents
    come from a cache; the codec, in the release the identity, is one narrow level without norms,
    which decodes the four frames per clip that the adversary judges.
    """
    return config.parse(
        {
            "seed": 0,
            "dtype": "float32",
            "frame_size": 16,
            "data": {"dir": "", "cache_latents": True},
            "clip": {"num_frames": 16, "num_key_frames": 8, "num_target_frames": 2},
            "model": {
                "compat": "reference",
                "frame_codec": {
                    "channels": 4,
                    "multipliers": (1,),
                    "blocks_per_level": 1,
                    "attention": False,
                    "groups": 0,
                },
                "patch_discriminator": {"channels": 4, "multipliers": (1, 2)},
                "video_encoder": {"channels": 64},
                "frame_features": {},
                "global_tokens": {},
                "unet": {"channels": 64},
                "discriminator": {"channels": 32},
                "condition": {"kind": "unconditional", "length": 16},
                "generator": {"width": 192, "depth": 6, "heads": 6},
            },
            "diffusion": {},
            "generator_diffusion": {},
            "codec": dict(_STAGE),
            "autoencoder": {**_STAGE, "latent_scale": 1.0, "adversarial": _ADVERSARY},
            "generator": {**_STAGE, "condition_dropout": 0.0},
            "mesh": {},
            "loop": {},
            "sampling": {"video_scale": 1.5, "domain_scale": 1.5},
            "evaluation": {"protocol": ""},
        }
    )


def unet_program(experiment: Experiment, name: str, mesh: Mesh) -> Program:
    """A part of the decoder by itself, on the frames that the release was measured on."""
    networks = experiment.networks
    guidance = experiment.sampling.decoder_guidance
    rows = {"unet": 48, "unet_gradient": 8, "guided_denoising": 16}[name]

    def unet(params: Any, z: jax.Array, t: jax.Array, condition: Any) -> jax.Array:
        return networks.apply(params, "unet", z, t, *condition)

    def run(params: Any, z: jax.Array, t: jax.Array, condition: Any) -> Any:
        if name == "unet":
            return unet(params, z, t, condition)
        if name == "unet_gradient":
            return jax.grad(lambda params: unet(params, z, t, condition).sum())(params)
        conditions = dict.fromkeys(guidance.weights, condition)
        network = functools.partial(unet, params)
        return guided_predictor(guidance, network, conditions).guided(z, t[0])

    z, t, *condition = input_shapes(networks, "unet", rows)
    inputs = jax.device_put(random_like((networks.shapes(("unet",)), z, t, condition)))
    trace = functools.partial(jax.jit(run).trace, *inputs)
    return Program(
        trace=trace,
        call=lambda compiled: compiled(*inputs),
        examples=rows,
        model_flops=count_flops(trace()),
    )


def comparison_rows(programs: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """A table's rows: ours beside the release, scaled by the rate of matrix products."""
    rows = []
    for name, figures in programs.items():
        rate = figures["matmul"]["flops_per_cpu_second"]
        recorded, ours = RECORDED[name].cpu_seconds, figures["cpu_seconds"]
        scaled = recorded * MATMUL_FLOPS_PER_CPU_SECOND / rate
        rows.append(
            {
                "program": name,
                "CPU s": f"{ours:.3g}",
                "release": RECORDED[name].call,
                "recorded": f"{recorded:.3g}",
                "scaled": f"{scaled:.3g}",
                "scaled / ours": f"{scaled / ours:.2f}",
            }
        )
    return rows
