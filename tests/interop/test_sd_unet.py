"""Stable Diffusion's UNet through the converter: outputs of the published release, all namings.

The fixtures are two small UNets of the release with random weights, none of them zero, and what
they computed: one with the numbers of levels and blocks of the full size, and one with an attention
pattern and numbers of its own, wide enough for norms to leave the time embedding alone.
"""

import dataclasses
import re

import jax
import numpy as np
import pytest

from glober_jax.errors import UserError
from glober_jax.interop.network import choose_naming, import_network
from glober_jax.interop.sd_unet import unet_namings
from glober_jax.models.networks import Params
from glober_jax.models.video_decoder import UNet
from tests.interop.comparison import relative_error
from tests.tiny import FIXTURES

UNETS = {
    "unet": UNet(channels=32, multipliers=(1, 1, 2, 2), attention_levels=(0, 1, 2), heads=4),
    "unet64": UNet(
        channels=64, multipliers=(1, 1, 1), blocks_per_level=1, attention_levels=(1, 2), heads=4
    ),
}
Tensors = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Recorded:
    """A UNet, its weights under the release's names, inputs in our layout, and its output."""

    unet: UNet
    tensors: Tensors
    inputs: tuple
    output_NhwZ: np.ndarray

    def converted(self, tensors: Tensors) -> tuple[str, Params]:
        """The title of the naming that was found, and the parameters."""
        key = jax.random.key(0)
        shapes = jax.eval_shape(lambda: self.unet.init(key, *self.inputs)["params"])
        naming = choose_naming(tensors, shapes, unet_namings(self.unet))
        return naming.title, import_network(tensors, shapes, naming)


@pytest.fixture(scope="module", params=list(UNETS))
def recorded(request: pytest.FixtureRequest) -> Recorded:
    stored = dict(np.load(FIXTURES / f"{request.param}.npz"))
    tensors = {n[3:]: tensor for n, tensor in stored.items() if n.startswith("sd/")}
    sites = sorted((n for n in stored if n.startswith("in/vc_feats.")), key=lambda n: int(n[12:]))
    features = tuple(np.moveaxis(stored[name], 1, -1) for name in sites)
    latents = np.moveaxis(stored["in/x"], 1, -1)
    inputs = latents, stored["in/t"].astype(np.float32), stored["in/context"], features
    output = np.moveaxis(stored["out/eps"], 1, -1)
    return Recorded(UNETS[request.param], tensors, inputs, output)


def in_diffusers(recorded: Recorded) -> Tensors:
    """The same tensors as diffusers saves them, written down from its modules' names.

    It lists a level's blocks, then its attentions; a level keeps the downsampling that ends it.
    """
    levels, blocks = len(recorded.unet.multipliers), recorded.unet.blocks_per_level
    parts = {
        "input_blocks.0.0": "conv_in",
        "out.0": "conv_norm_out",
        "out.2": "conv_out",
        "time_embed.0": "time_embedding.linear_1",
        "time_embed.2": "time_embedding.linear_2",
        "middle_block.0": "mid_block.resnets.0",
        "middle_block.1": "mid_block.attentions.0",
        "middle_block.2": "mid_block.resnets.1",
    }
    number = 1
    for level in range(levels):
        for block in range(blocks):
            parts[f"input_blocks.{number}.0"] = f"down_blocks.{level}.resnets.{block}"
            parts[f"input_blocks.{number}.1"] = f"down_blocks.{level}.attentions.{block}"
            number += 1
        parts[f"input_blocks.{number}.0"] = f"down_blocks.{level}.downsamplers.0"
        number += 1
    for level in range(levels):
        for block in range(blocks + 1):
            number = level * (blocks + 1) + block
            up = f"up_blocks.{level}"
            parts[f"output_blocks.{number}.0"] = f"{up}.resnets.{block}"
            with_attention = f"output_blocks.{number}.1.norm.weight" in recorded.tensors
            parts[f"output_blocks.{number}.1"] = (
                f"{up}.attentions.{block}" if with_attention else f"{up}.upsamplers.0"
            )
            parts[f"output_blocks.{number}.2"] = f"{up}.upsamplers.0"
    layers = {
        "in_layers.0": "norm1",
        "in_layers.2": "conv1",
        "emb_layers.1": "time_emb_proj",
        "out_layers.0": "norm2",
        "out_layers.3": "conv2",
        "skip_connection": "conv_shortcut",
        "op": "conv",
    }
    renamed = {}
    for name, tensor in recorded.tensors.items():
        part = next(part for part in sorted(parts, key=len)[::-1] if name.startswith(f"{part}."))
        rest = name.removeprefix(part)
        for theirs, diffusers in layers.items():
            rest = re.sub(rf"^\.{re.escape(theirs)}\.", f".{diffusers}.", rest)
        renamed[parts[part] + rest] = tensor
    return renamed


def test_computes_what_the_release_does(recorded: Recorded) -> None:
    """Fails when a kernel lands on another layer of the same shape, or a block is counted wrong.

    Broken: self- and cross-attention's output layers exchanged; output blocks counted upwards.
    """
    title, params = recorded.converted(recorded.tensors)
    assert title == "the published release"
    out = jax.jit(recorded.unet.apply)({"params": params}, *recorded.inputs)
    assert relative_error(jax.device_get(out), recorded.output_NhwZ) < 1e-5


def test_names_of_diffusers_give_the_same_parameters(recorded: Recorded) -> None:
    """Fails when a diffusers name is wrong (broken: downsampling put into the level it enters)."""
    title, params = recorded.converted(in_diffusers(recorded))
    assert title == "diffusers"
    _, expected = recorded.converted(recorded.tensors)
    jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_a_level_too_many_is_listed(recorded: Recorded) -> None:
    """Fails when blocks of a deeper UNet are passed over (broken: unexpected names ignored)."""
    deeper = recorded.tensors | {"input_blocks.12.0.op.bias": np.zeros(64, np.float32)}
    with pytest.raises(UserError, match=r"1 unexpected: input_blocks\.12\.0\.op\.bias$"):
        recorded.converted(deeper)
