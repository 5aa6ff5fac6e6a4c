"""A compiled program's text: collectives in every form that XLA writes, and cycles."""

import re

import numpy as np
import pytest

from glober_jax.planning.hlo import Cycles, by_kind, find_collectives, find_cycles, sum_cycles
from glober_jax.planning.program_plan import estimate
from glober_jax.planning.topology import TPUS, Topology

# ruff: noqa: E501
COLLECTIVES = """
HloModule step

%add (x: f32[], y: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%x, %y)
}

%all-reduce-scatter.1 (input: f32[64,8]) -> f32[16,8] {
  %all-reduce = f32[64,8]{1,0:T(8,128)} all-reduce(%input), replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%add
  ROOT %slice = f32[16,8]{1,0} dynamic-slice(%all-reduce, %offset)
}

%condition (state: (s32[], bf16[4,8])) -> pred[] {
  %limit = s32[]{:T(128)} constant(10)
  ROOT %lt = pred[] compare(%place, %limit), direction=LT
}

%body (state: (s32[], bf16[4,8])) -> (s32[], bf16[4,8]) {
  %all-gather = bf16[16,8]{1,0} all-gather(%shard), replica_groups=[2,4]<=[4,2]T(1,0), dimensions={0}
}

ENTRY %main (input: f32[64,8]) -> f32[16,8] {
  %fusion = f32[16,8]{1,0} fusion(%input), kind=kCustom, calls=%all-reduce-scatter.1
  %while = (s32[], bf16[4,8]{1,0}) while(%tuple), condition=%condition, body=%body
  %reduce-scatter = f32[4]{0} reduce-scatter(%input), replica_groups=mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'b'}, to_apply=%add
  %start = (f32[3,5]{1,0}, f32[3,5]{1,0}, u32[], u32[]) collective-permute-start(%input), source_target_pairs={{0,1},{2,3}}
  %done = f32[3,5]{1,0} collective-permute-done(%start)
  %together = (f32[2]{0}, s8[4]{0}) all-reduce(%a, %b), channel_id=1, to_apply=%add
}
"""
FUSIONS = """
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


def test_kinds_bytes_groups_and_runs() -> None:
    """Fails when one is missed, counted at its start and its end, or once where it loops.

    Broken: shards counted instead of whole arrays; groups of mesh axes in the wrong order.
    """
    found = find_collectives(COLLECTIVES, 8)
    assert by_kind(found) == {
        "all-gather": {"count": 10, "bytes": 10 * 16 * 8 * 2},
        "reduce-scatter": {"count": 2, "bytes": 64 * 8 * 4 + 4 * 4 * 4},
        "all-reduce": {"count": 1, "bytes": 2 * 4 + 4},
        "all-to-all": {"count": 0, "bytes": 0},
        "collective-permute": {"count": 1, "bytes": 3 * 5 * 4},
    }
    groups = {(one.kind, one.bytes): one.groups.tolist() for one in found}
    assert groups["all-gather", 256] == [[0, 2, 4, 6], [1, 3, 5, 7]]
    assert groups["reduce-scatter", 2048] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert groups["reduce-scatter", 64] == [[0, 2, 4, 6], [1, 3, 5, 7]]
    assert groups["collective-permute", 60] == [[0, 1], [2, 3]]
    assert groups["all-reduce", 12] == [list(range(8))]


def test_estimate_adds_what_the_rates_give() -> None:
    """Fails when bytes between slices go at the speed within them, or an open ring as a closed."""
    (one,) = (c for c in find_collectives(COLLECTIVES, 8) if c.kind == "all-reduce")
    arguments = (1.0, 819e9 / 2, [one._replace(bytes=8 * 10**9, runs=2)])

    def seconds(shape: tuple[int, int], slices: int = 1) -> dict[str, float]:
        topology = Topology("", "v5e", shape, slices, TPUS["v5e"])
        return estimate(topology, *arguments, np.repeat(np.arange(slices), 8 // slices))

    within = seconds((2, 4))
    assert within["compute"] == pytest.approx(1) and within["hbm"] == pytest.approx(0.5)
    # Each chip sends 7/8 of the array twice over, twice a step, over one link of 50 GB/s.
    assert within["interconnect"] == pytest.approx(2 * 2 * 7 / 50) and within["network"] == 0
    assert within["step"] == pytest.approx(1 + within["interconnect"])
    assert seconds((2, 2), 2)["interconnect"] == pytest.approx(2 * 2 * 6 / 50)
    assert seconds((2, 2), 2)["network"] == pytest.approx(2 * 2 * 4 / 4 / 3.125)
    assert seconds((16, 16))["interconnect"] == pytest.approx(within["interconnect"] / 2)


def test_instructions_count_once_and_loops_as_often_as_they_run() -> None:
    """Fails when what a fusion calls counts beside it, the body of a loop once, or a kernel that
    the compiler knows nothing of is not counted as missing."""
    products = "matrix products and convolutions"
    assert sorted(find_cycles(FUSIONS), key=str) == sorted(
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
    found = sum_cycles(find_cycles(FUSIONS), flops, 2)
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
