"""Patches and convolutions of the diffusion transformer; tests/parity has the published one."""

import einops
import jax
import numpy as np

from glober_jax.models.generator import GlobalGenerator
from tests.models.test_networks import normal
from tests.tiny import perturbed

SIZES = {"width": 48, "depth": 3, "heads": 4, "global_channels": 16, "context_width": 24}


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference, in units of the first one's deviation."""
    return float(np.abs(a - b).max() / a.std())


def test_patches_are_cells_of_a_coarser_feature() -> None:
    """Fails when cells of a patch come back in another order."""
    feature, steps = normal(0, 2, 4, 8, 4), np.array([10, 900])
    context = normal(1, 2, 3, SIZES["context_width"])
    coarse = einops.rearrange(feature, "b (h p) (w q) g -> b h w (p q g)", p=2, q=2)
    cells = GlobalGenerator(**SIZES)
    patches = GlobalGenerator(**SIZES | {"patch_size": 2, "global_channels": 4})
    params = jax.jit(patches.init)(jax.random.key(0), feature, steps, context)
    params = perturbed(params, jax.random.key(1))
    expected = jax.jit(cells.apply)(params, coarse, steps, context)
    expected = einops.rearrange(expected, "b h w (p q g) -> b (h p) (w q) g", p=2, q=2)
    out = jax.jit(patches.apply)(params, feature, steps, context)
    assert out.shape == feature.shape
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_convolution_with_only_its_centre_is_the_dense_layer() -> None:
    """Fails when the convolution sees other cells than its token's, or context tokens as cells.

    In one block, for context tokens have no feed-forward of their own.
    """
    feature, steps = normal(0, 2, 4, 6, 16), np.array([10, 900])
    context = normal(1, 2, 3, SIZES["context_width"])
    sizes, width = SIZES | {"depth": 1}, SIZES["width"]
    conv = GlobalGenerator(**sizes, feed_forward="conv")
    params = jax.jit(conv.init)(jax.random.key(0), feature, steps, context)["params"]
    params = jax.device_get(perturbed(params, jax.random.key(1)))
    block = dict(params["block0"])
    conv_in = block.pop("mlp_conv")["conv"]
    kernel, bias = np.array(conv_in["kernel"]), conv_in["bias"]
    neighbours = jax.jit(conv.apply)({"params": params}, feature, steps, context)
    centre = np.zeros_like(kernel)
    centre[1, 1] = kernel[1, 1]
    alone = params | {"block0": block | {"mlp_conv": {"conv": conv_in | {"kernel": centre}}}}
    out = jax.jit(conv.apply)({"params": alone}, feature, steps, context)
    idle = np.zeros((width, 2 * width), np.float32)
    mlp_in = {"kernel": np.hstack([kernel[1, 1], idle]), "bias": np.hstack([bias, idle[0]])}
    mlp_out = {
        "kernel": np.vstack([block["mlp_out"]["kernel"], idle.T]),
        "bias": block["mlp_out"]["bias"],
    }
    dense = params | {"block0": block | {"mlp_in": mlp_in, "mlp_out": mlp_out}}
    expected = jax.jit(GlobalGenerator(**sizes).apply)({"params": dense}, feature, steps, context)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)
    assert difference(out, neighbours) > 0.01
