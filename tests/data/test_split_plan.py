"""Which frames are held out, and how long videos are cut."""

import pytest

from glober_jax.data.building.split_plan import SplitPlan, Stretch, plan_splits
from glober_jax.errors import UserError


def _plan(lengths: list[int], splits: list[str | None] | None = None, **options) -> SplitPlan:
    defaults = {"min_frames": 16, "max_frames": 64, "test_fraction": 0.1}
    options = {"groups": [""] * len(lengths)} | defaults | options
    return plan_splits(lengths, splits or [None] * len(lengths), **options)


def test_folders_decide_where_there_are_any() -> None:
    plan = _plan([20, 30, 40], ["train", "test", "train"])
    assert plan.train == (Stretch(0, 0, 20), Stretch(2, 0, 40))
    assert plan.test == (Stretch(1, 0, 30),)


def test_many_videos_are_held_out_whole_and_spread() -> None:
    plan = _plan([20] * 40)
    assert [stretch.video for stretch in plan.test] == [5, 15, 25, 35]
    assert {s.video for s in plan.train} == set(range(40)) - {5, 15, 25, 35}
    assert len(_plan([20] * 10).test) == 1


def test_few_videos_give_their_last_parts() -> None:
    # The first can spare max(16, 10) frames, the second is too short to be cut.
    plan = _plan([60, 31])
    assert plan.test == (Stretch(0, 44, 60),)
    assert plan.train == (Stretch(0, 0, 44), Stretch(1, 0, 31))
    assert "last part of 1 of 2" in plan.summary


@pytest.mark.parametrize("length", [16, 64, 65, 129, 1000])
def test_cutting_keeps_every_frame_and_leaves_no_stub(length: int) -> None:
    plan = _plan([length, 20], ["train", "test"], max_frames=32)
    assert plan.train[0].start == 0
    assert plan.train[-1].stop == length
    for before, after in zip(plan.train, plan.train[1:], strict=False):
        assert before.stop == after.start
    assert all(16 <= stretch.stop - stretch.start <= 32 for stretch in plan.train)


def test_without_a_limit_nothing_is_cut() -> None:
    plan = _plan([1000, 20], ["train", "test"], max_frames=None)
    assert plan.train == (Stretch(0, 0, 1000),)


def test_few_short_videos_give_one_whole() -> None:
    """Fails when six videos that cannot be cut are refused, or a group is divided."""
    plan = _plan([20] * 6, groups=["a", "a", "b", "b", "b", "c"])
    assert [stretch.video for stretch in plan.test] == [2, 3, 4]
    assert [stretch.video for stretch in plan.train] == [0, 1, 5]


def test_nothing_to_hold_out_is_an_error() -> None:
    with pytest.raises(UserError, match="nothing can be held out"):
        _plan([31])
    with pytest.raises(UserError, match="nothing can be held out"):
        _plan([31, 20], groups=["a", "a"])
    with pytest.raises(UserError, match="no usable video for training"):
        _plan([31, 20], ["test", "test"])


def test_groups_stay_together() -> None:
    """Fails when videos of one group are divided (broken: held out by video)."""
    groups = [f"g{video // 4}" for video in range(36)] + ["", "", "", ""]
    plan = _plan([20] * 40, groups=groups, test_fraction=0.3)
    train, test = ({groups[s.video] or s.video for s in part} for part in (plan.train, plan.test))
    assert not train & test
    assert len(test) == round(0.3 * 13)
    assert len(plan.train) + len(plan.test) == 40
