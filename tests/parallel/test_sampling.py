"""Eight devices make the videos of one, each its share of them.

Run as a program, this file samples on one and on eight CPU devices and prints what it saw; the
tests read that.
"""

import dataclasses
import json
from typing import Any

import jax
import numpy as np
import pytest

from glober_jax.experiment.config import parse
from glober_jax.parallel import rules
from glober_jax.parallel.rules import tree_shardings
from glober_jax.planning.hlo import find_collectives
from glober_jax.sampling.decode import VideoSampler
from glober_jax.sampling.devices import piece
from glober_jax.sampling.generate import FeatureSampler
from tests.eight_devices import on_eight_devices
from tests.tiny import drawn_glober, mesh_of, single_level_config

# Parameters lie in shards over four of the eight devices.
MESHES = {"1": (1, 1, 1), "8": (2, 4, 1)}
# (videos, frames): a video on each device; frames over all; some of both, and rows to fill up.
SIZES = {"videos": (8, 2), "frames": (1, 16), "mixed": (3, 5)}
PROGRAMS = ("features", *SIZES)


@pytest.fixture(scope="module")
def runs() -> dict[str, Any]:
    """What the program below saw, by number of devices."""
    return on_eight_devices(__file__)


@pytest.mark.parametrize("program", ["features", "videos", "frames"])
def test_each_device_computes_its_eighth(runs: dict[str, Any], program: str) -> None:
    """Fails when videos or frames lie on every device, or their conditions are computed on all.

    What is left over of frames is of the video, the grid that they attend to and tokens, and is
    computed once for all steps.
    """
    one, eight = (runs[devices]["operations"][program] for devices in MESHES)
    assert one / eight == pytest.approx(8, rel={"frames": 0.2}.get(program, 0.01))


def test_nothing_is_exchanged_while_denoising(runs: dict[str, Any]) -> None:
    """Fails when parameters in shards are gathered in every step, or rows move between devices."""
    for program in PROGRAMS:
        found = runs["8"]["collectives"][program]
        assert set(found) == {"all-gather"}, program
        assert found["all-gather"] == [1], f"{program}: in a loop"


def test_eight_devices_make_the_videos_of_one(runs: dict[str, Any]) -> None:
    """Fails when rows come back in another order, are filled up wrongly, or noise goes by device.

    Frames are seen in pieces of whole videos, of frames of one, and of parts of both.
    """
    for name, largest in (("features", 1e-4), ("encoded", 1e-4), *((size, 1) for size in SIZES)):
        one, eight = (np.array(runs[devices]["made"][name]) for devices in MESHES)
        assert one.std() > 0.1
        assert np.abs(one - eight).max() <= largest, name


@pytest.mark.parametrize(
    ("videos", "frames", "devices", "least"),
    [
        (2048, 16, 256, 1.0),
        (3000, 16, 256, 0.99),
        (16, 16, 256, 1.0),
        (10, 16, 32, 1.0),
        (1, 160, 1, 1.0),
        (8, 16, 256, 0.5),
        (3, 5, 8, 0.6),
    ],
)
def test_devices_are_filled(videos: int, frames: int, devices: int, least: float) -> None:
    """Fails when frames are added where videos would do, or pieces leave a remainder.

    128 frames are half of 256 devices' work, whatever is done.
    """
    rows, columns = piece(videos, frames, devices, 128)
    pieces = -(-videos // rows) * -(-frames // columns)
    assert rows * columns % devices == 0 and rows * columns <= 128 * devices
    assert videos * frames >= least * pieces * rows * columns


def sample(devices: str) -> dict[str, Any]:
    """Two steps, a loop, whose body the compiler counts once."""
    experiment = parse(single_level_config())
    networks, mesh = experiment.networks, mesh_of(*MESHES[devices])
    options = dataclasses.replace(experiment.sampling, steps=2, chunk_frames=16)
    features = FeatureSampler(networks, experiment.generator_diffusion, options, mesh)
    sampler = VideoSampler(networks, experiment.diffusion, options, mesh)
    glober = drawn_glober(experiment)
    models = (glober.frame_model, glober.feature_model)
    frame_model, feature_model = jax.device_put(models, tree_shardings(models, mesh))
    rng = np.random.default_rng(0)
    globals_BHWG = rng.standard_normal((8, *networks.global_shape), np.float32)
    size = networks.frame_size
    keys = rng.integers(0, 256, (5, networks.num_key_frames, size, size, 3), np.uint8)
    labels = np.arange(8, dtype=np.int32) % 4
    programs = {"features": features.trace(feature_model, labels)} | {
        name: sampler.trace(frame_model, *size) for name, size in SIZES.items()
    }
    compiled = {name: traced.lower().compile() for name, traced in programs.items()}
    collectives: dict[str, dict[str, list[int]]] = {name: {} for name in compiled}
    for name, program in compiled.items():
        for found in find_collectives(program.as_text(), mesh.size):
            runs = collectives[name].setdefault(found.kind, [])
            runs += {found.runs} - set(runs)
    made = {"features": features(feature_model, labels, 3)}
    made["encoded"] = sampler.encode(frame_model, keys)
    for name, (videos, frames) in SIZES.items():
        index = np.arange(frames) / frames
        made[name] = sampler.decode(frame_model, globals_BHWG[:videos], index, 3).astype(int)
    return {
        "operations": {name: p.cost_analysis()["flops"] for name, p in compiled.items()},
        "collectives": collectives,
        "made": {name: values.tolist() for name, values in made.items()},
    }


if __name__ == "__main__":
    rules.MIN_SHARDED_SIZE = 512
    assert jax.device_count() == 8
    print(json.dumps({devices: sample(devices) for devices in MESHES}))
