"""The compiler's cycles are read from its program once each, loops as often as they run."""

import re

import pytest

from glober_jax.planning.chips import TPUS
from glober_jax.planning.cycles import Cycles, find_cycles, summary

# ruff: noqa: E501
PROGRAM = """
HloModule step

%fused_computation.1 (x: bf16[8,8]) -> bf16[8,8] {
  ROOT %convolution.1 = bf16[8,8] convolution(%x, %x), dim_labels=bf_io->bf, metadata={op_name="jit(step)/jvp(UNet)/down0/qkv/dot_general"}, backend_config={"estimated_cycles":"7"}
}

%fused_computation.2 (x: f32[8,8]) -> f32[8] {
  ROOT %reduce.1 = f32[8] reduce(%x, %zero), dimensions={1}, to_apply=%add
}

%condition (state: (s32[], bf16[8,8])) -> pred[] {
  %limit = s32[]{:T(128)} constant(10)
  ROOT %lt = pred[] compare(%place, %limit), direction=LT
}

%body (state: (s32[], bf16[8,8])) -> (s32[], bf16[8,8]) {
  %fusion.1 = bf16[8,8] fusion(%x), kind=kOutput, calls=%fused_computation.1, metadata={op_name="jit(step)/while/body/transpose(jvp(UNet))/down0/qkv/dot_general"}, backend_config={"window_config":{"estimated_cycles":"100"}}
}

ENTRY %main (input: bf16[8,8]) -> bf16[8,8] {
  %while = (s32[], bf16[8,8]) while(%tuple), condition=%condition, body=%body
  %fusion.2 = f32[8] fusion(%x), kind=kInput, calls=%fused_computation.2, metadata={op_name="jit(step)/jvp(UNet)/down0/GroupNorm_1/reduce_sum"}, backend_config={"estimated_cycles":"30"}
  %fusion.3 = f32[8] fusion(%x), kind=kLoop, calls=%fused_computation.3, metadata={op_name="jit(step)/add"}, backend_config={"estimated_cycles":"5"}
  %copy.1 = f32[8] copy(%x), backend_config={"estimated_cycles":"2"}
  %kernel = bf16[8,8] custom-call(%x), custom_call_target="tpu_custom_call", metadata={op_name="jit(step)/jvp(UNet)/down0/attention/pallas_call"}
  %fusion.4 = f32[8] fusion(%x), kind=kLoop, calls=%fused_computation.3, metadata={op_name="jit(step)/mul"}, backend_config={"estimated_cycles":"9223372036854775807"}
}
"""


def test_instructions_count_once_and_loops_as_often_as_they_run() -> None:
    """Fails when what a fusion calls counts beside it, the body of a loop once, or a kernel that
    the compiler knows nothing of is not counted as missing."""
    products = "matrix products and convolutions"
    assert sorted(find_cycles(PROGRAM), key=str) == sorted(
        [
            Cycles("UNet/down*, backward", products, 1000),
            Cycles("UNet/down*", "reductions", 30),
            Cycles("step", "elementwise", 5),
            Cycles("step", "copies", 2),
            Cycles("step", "elementwise", None),
            Cycles("UNet/down*", "kernels", None),
        ],
        key=str,
    )


def test_sums_leave_out_what_overflowed_and_say_so() -> None:
    """Fails when an estimate that overflowed is added, or is not counted as missing."""
    flops = {"UNet/down*, backward": 900.0, "UNet/down*": 60.0, "Codec": 40.8}
    found = summary(find_cycles(PROGRAM), flops, 2)
    assert found["total"] == 1037 == sum(found["kind"].values()) == sum(found["module"].values())
    assert found["without_estimate"] == 2
    of_peak = found["of_peak"]
    assert of_peak["module"] == {"UNet/down*, backward": 0.45, "UNet/down*": 1.0, "step": 0.0}
    assert of_peak["network"] == {"UNet, backward": 0.45, "UNet": 1.0, "step": 0.0}
    assert sum(found["network"].values()) == found["total"]
    assert found["floor"] == 500 and found["share"] == pytest.approx(500.4 / 1037)
    assert next(iter(found["module"])) == "UNet/down*, backward"


def test_clocks_are_those_of_chips() -> None:
    """Fails when the operations of a cycle are those of one core of two, or of half the units."""
    for name, chip in TPUS.items():
        assert re.fullmatch(r"v\d\w?", name)
        assert 0.9e9 < chip.bfloat16_flops / chip.flops_per_cycle < 2e9
