"""Eight devices share the frames of one video.

Run as a program, this file decodes a video of 128 frames on one and on eight CPU devices and prints
what it saw; the tests read that.
"""

import dataclasses
import json
from typing import Any

import jax
import numpy as np
import pytest

from glober_jax.config import parse
from glober_jax.sampling.decode import FrameModel, VideoSampler
from tests.eight_devices import on_eight_devices
from tests.tiny import ALL_NETWORKS, drawn_params, mesh_of, single_level_config, tiny_latent_scale

FRAMES = 128


@pytest.fixture(scope="module")
def runs() -> dict[str, Any]:
    """What the program below saw, by number of devices."""
    return on_eight_devices(__file__)


def test_each_device_computes_its_eighth(runs: dict[str, Any]) -> None:
    """Fails when frames lie on every device, or a device computes other devices' conditions.

    What is left over is of the video and not of its frames, the grid that they attend to and
    tokens, and is computed once for all steps. Broken: frames not spread; their maps spread after
    they are computed.
    """
    assert runs["1"]["operations"] / runs["8"]["operations"] == pytest.approx(8, rel=0.05)
    assert runs["8"]["temporaries"] < runs["1"]["temporaries"] / 4


def test_eight_devices_make_the_frames_of_one(runs: dict[str, Any]) -> None:
    """Fails when frames come back in another order, or noise goes by device."""
    one, eight = (np.array(runs[devices]["frames"]) for devices in ("1", "8"))
    assert one.std() > 20
    assert np.abs(one - eight).max() <= 1


def decode(devices: int) -> dict[str, Any]:
    """One step of each frame, so that the loop's one round is all there is to count."""
    experiment = parse(single_level_config())
    networks = experiment.networks
    options = dataclasses.replace(experiment.sampling, steps=1, chunk_frames=FRAMES)
    sampler = VideoSampler(networks, experiment.diffusion, options, mesh_of(devices))
    model = FrameModel(drawn_params(networks, ALL_NETWORKS), tiny_latent_scale(experiment))
    program = sampler.trace(model, 1, FRAMES).lower().compile()
    features = np.random.default_rng(0).standard_normal((1, *networks.global_shape), np.float32)
    frames = sampler.decode(model, features, np.arange(FRAMES) / FRAMES, 3)
    return {
        "operations": program.cost_analysis()["flops"],
        "temporaries": program.memory_analysis().temp_size_in_bytes,
        "frames": frames.astype(int).tolist(),
    }


if __name__ == "__main__":
    assert jax.device_count() == 8
    print(json.dumps({devices: decode(devices) for devices in (1, 8)}))
