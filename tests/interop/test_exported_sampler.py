"""The exported sampler runs where only JAX is installed, and samples what `Glober` does."""

import dataclasses
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np
import pytest
import safetensors.numpy

from glober_jax.errors import UserError
from glober_jax.experiment.config import parse
from glober_jax.interop.exported_sampler import check_platforms, write_sampler
from glober_jax.models.latents import ChannelScale
from glober_jax.sampling.glober import Glober
from tests.tiny import drawn_glober, single_level_config

# What jax and safetensors need; the new process sees these packages and no others.
_PACKAGES = (
    "jax", "jaxlib", "ml_dtypes", "numpy", "opt_einsum", "scipy", "safetensors", "flatbuffers",
)  # fmt: skip
_PLATFORMS = ("cpu", "cuda", "tpu")
# Both guidances, and noise on the way.
_SAMPLING = {
    "steps": 4, "eta": 0.5, "video_scale": 1.5, "domain_scale": 2.0, "condition_scale": 3.0
}  # fmt: skip


@pytest.fixture(scope="module")
def model(small_glober: Glober) -> Glober:
    channels = small_glober.networks.global_shape[-1]
    scale = ChannelScale(np.full(channels, 0.3, np.float32), np.full(channels, 1.5, np.float32))
    features = small_glober.feature_model._replace(feature_scale=scale)
    return dataclasses.replace(small_glober, feature_model=features).with_options(**_SAMPLING)


@pytest.fixture(scope="module")
def exported(model: Glober, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sampler of two videos of three frames."""
    output = tmp_path_factory.mktemp("exported")
    about = {"class_names": tuple("abcd")}
    write_sampler(model, output, num_videos=2, num_frames=3, platforms=_PLATFORMS, about=about)
    return output


def test_it_runs_where_there_is_only_jax(model: Glober, exported: Path, tmp_path: Path) -> None:
    """Fails when loading needs a package of ours, the recipe is wrong, or frames are others.

    The recipe is run as it is written, in the folder of the files, and then with another seed,
    condition and index.
    """
    packages = tmp_path / "packages"
    packages.mkdir()
    for package in _PACKAGES:
        for top in {file.parts[0] for file in metadata.files(package) if ".." not in file.parts}:
            place = Path(metadata.distribution(package).locate_file(top)).resolve()
            if not (packages / top).exists():
                (packages / top).symlink_to(place)
    record = json.loads((exported / "sampler.json").read_text())
    script = "\n".join([
        "import sys",
        f"sys.path.append({str(packages)!r})",
        record["imports"],
        "jax.config.update('jax_disable_most_optimizations', True)",
        *record["recipe"],
        "other = jax.jit(program.call)(weights, numpy.uint32(7), numpy.array([3, 1], 'int32'),",
        "    numpy.array([[0.9, 0.1, 0.5]] * 2, 'float32'))",
        f"numpy.savez({str(tmp_path / 'frames.npz')!r}, frames=frames, other=other)",
        "for name in ('glober_jax', 'flax', 'einops', 'orbax'):",
        "    assert __import__('importlib.util').util.find_spec(name) is None, name",
    ])  # fmt: skip
    # -I: neither this folder nor PYTHONPATH; -S: nothing that is installed, but by the script.
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script],
        cwd=exported, env={"JAX_PLATFORMS": "cpu"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(tmp_path / "frames.npz") as made:
        for name, condition, index_n, seed in (
            ("frames", [0, 0], np.arange(3) / 3, 0),
            ("other", [3, 1], [0.9, 0.1, 0.5], 7),
        ):
            features = model.generate_globals(2, np.array(condition, np.int32), seed=seed)
            expected = model.decode(features, index_n, seed=seed)
            assert made[name].dtype == np.uint8 and expected.std() > 20
            difference = np.abs(made[name].astype(int) - expected)
            # One program rounds otherwise than two: at most a grey level, rarely.
            assert difference.max() <= 1 and (difference > 0).mean() < 0.01
        assert np.abs(made["frames"].astype(int) - made["other"]).max() > 50


def test_the_files_say_what_they_are(exported: Path) -> None:
    """Fails when a platform is missing, weights are too many, or the record is of another call."""
    record = json.loads((exported / "sampler.json").read_text())
    program = jax.export.deserialize((exported / "sampler.stablehlo").read_bytes())
    assert program.platforms == _PLATFORMS and record["platforms"] == list(_PLATFORMS)
    weights = safetensors.numpy.load_file(exported / "weights.safetensors")
    # Everything in the file is read, and everything that is read is in the file.
    assert len(program.module_kept_var_idx) == len(program.in_avals) == len(weights) + 3
    networks = {name.split(".")[0] for name in weights}
    assert {"unet", "generator", "frame_codec", "latent_scale", "feature_scale"} <= networks
    assert not {"discriminator", "patch_discriminator"} & networks
    for name, given in zip(("seed", "condition", "index"), program.in_avals[-3:], strict=True):
        assert record["inputs"][name]["shape"] == list(given.shape)
        assert record["inputs"][name]["dtype"] == given.dtype.name
    assert record["output"]["shape"] == [2, 3, 8, 8, 3]
    assert record["sampling"]["condition_scale"] == 3.0
    assert record["class_names"] == ["a", "b", "c", "d"] and "jax" in record["versions"]


@pytest.mark.parametrize("kind", ["text", "unconditional"])
def test_other_conditions(kind: str, tmp_path: Path) -> None:
    """Fails when a condition without parameters cannot be exported, or has another shape."""
    config: Any = single_level_config()
    config.model.condition.update({"kind": kind, "num_classes": 0, "length": 3})
    config.sampling.steps = 1
    config.sampling.condition_scale = 1.0
    other = drawn_glober(parse(config))
    write_sampler(other, tmp_path, num_videos=1, num_frames=1, platforms=["cpu"], about={})
    condition = json.loads((tmp_path / "sampler.json").read_text())["inputs"]["condition"]
    expected = {"text": ([1, 3, 16], "float16"), "unconditional": ([1], "int32")}[kind]
    assert (condition["shape"], condition["dtype"]) == expected


@pytest.mark.parametrize("platforms", [["gpu"], ["cpu", ""], []])
def test_platforms_that_are_none(platforms: list[str]) -> None:
    """Fails when JAX's own exception is what a person sees."""
    with pytest.raises(UserError, match="choose from cpu, cuda, rocm, tpu"):
        check_platforms(platforms)
