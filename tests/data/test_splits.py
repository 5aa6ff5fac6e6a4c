"""Which videos are held out, which share a shard, and how long videos are cut."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest

from glober_jax.data.building import splits
from glober_jax.data.building.splits import SPLITS, cut_shards, hold_out, pieces_of
from glober_jax.data.media.tree import MediaItem
from glober_jax.errors import UserError


def _item(name: str, split: str | None = None, group: str = "") -> MediaItem:
    return MediaItem(name, (Path(name),), False, split, group=group)


def _items(count: int) -> list[MediaItem]:
    return [_item(f"{number:04d}.mp4") for number in range(count)]


def _pieces(length: int, wanted: tuple[str, ...] = SPLITS, max_frames: int | None = 64) -> list:
    options = SimpleNamespace(min_frames=16, max_frames=max_frames, test_fraction=0.1)
    return pieces_of(length, wanted, options)


def test_the_input_decides_where_it_says() -> None:
    items = [_item("a", "train"), _item("b", "test"), _item("c", "train")]
    held_out, _ = hold_out(items, 0.1)
    assert held_out == {("train",): [items[0], items[2]], ("test",): [items[1]]}
    with pytest.raises(UserError, match="no usable video for training"):
        hold_out(items[1:2], 0.1)


def test_many_videos_are_held_out_whole_by_their_names() -> None:
    """Fails when more videos change which are held out, or the order of the list does."""
    held_out, _ = hold_out(_items(200), 0.1)
    test, train = set(held_out["test",]), set(held_out["train",])
    assert (len(test), len(train), test & train) == (20, 180, set())
    assert set(hold_out(_items(200)[::-1], 0.1)[0]["test",]) == test
    assert len(test & set(hold_out(_items(220), 0.1)[0]["test",])) >= 15
    # In the order of the list, which is that of the records.
    assert list(held_out["test",]) == sorted(test, key=lambda item: item.video_id)


def test_groups_stay_together() -> None:
    """Fails when videos of one group are divided."""
    items = [_item(str(video), group=f"g{video // 4}") for video in range(36)] + _items(4)
    held_out, how = hold_out(items, 0.3)
    train, test = ({item.group or item.video_id for item in held_out[(split,)]} for split in SPLITS)
    assert not train & test
    assert len(test) == round(0.3 * 13)
    assert "of 4 groups" in how


def test_few_videos_give_their_last_parts_or_one_whole() -> None:
    """Fails when short videos are divided or refused, or a group is divided."""
    assert hold_out(_items(2), 0.1)[0] == {SPLITS: _items(2)}
    # The first can spare max(16, 10) frames, the second is too short to be divided.
    assert _pieces(60) == [("train", 0, 44), ("test", 44, 60)]
    assert _pieces(31) == [("train", 0, 31)]
    items = [_item(str(place), group=group) for place, group in enumerate("aabbbc")]
    held_out, _ = hold_out(items, 0.1, divide=False)
    assert len({item.group for item in held_out["test",]}) == 1
    assert sum(map(len, held_out.values())) == 6
    with pytest.raises(UserError, match="nothing can be held out"):
        hold_out(items[:2], 0.1, divide=False)


@pytest.mark.parametrize("length", [16, 64, 65, 129, 1000])
def test_cutting_keeps_every_frame_and_leaves_no_stub(length: int) -> None:
    for wanted in (SPLITS, ("test",)):
        pieces = _pieces(length, wanted, max_frames=32)
        assert (pieces[0][1], pieces[-1][2]) == (0, length)
        assert all(before[2] == after[1] for before, after in itertools.pairwise(pieces))
        assert all(16 <= stop - start <= 32 for _, start, stop in pieces)
    assert _pieces(length, ("train",), None) == [("train", 0, length)]


@pytest.mark.parametrize(
    ("sizes", "lengths"),
    [
        ([4] * 5, [2, 2, 1]),
        ([0, 0], [2]),
        ([1, 30, 1, 1], [1, 1, 2]),
        # Many: 256 of about one size; more: each as large as may be.
        ([1] * 25_600, [100] * 256),
        ([10_000] * 256, [1] * 256),
    ],
)
def test_shards_are_cut_by_size(
    sizes: list[int], lengths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when an input is lost, or work comes in too few or too many pieces."""
    monkeypatch.setattr(splits, "LEAST_BYTES", 9)
    cuts = cut_shards(sizes)
    assert [cut.stop - cut.start for cut in cuts] == lengths
    assert list(itertools.chain(*(sizes[cut] for cut in cuts))) == sizes
