"""Protocols: their knobs, and which clips they choose."""

import collections
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from glober_jax.errors import UserError
from glober_jax.evaluation.evaluating import choose_clips
from glober_jax.evaluation.protocols import (
    PROTOCOLS,
    Protocol,
    caveat,
    fitted,
    get_protocol,
    shortfall,
    table,
    with_clips,
)

LENGTHS = [40, 12, 16, 200, 128, 17, 127, 64, 128, 121]
LABELS = [0, 0, 0, 0, 0, 1, 1, 2, 2, 2]


def test_documentation_shows_the_table() -> None:
    """Fails when a setting of a protocol changed, or docs/evaluation.md does not show it.

    Published ones must not change; the page has what `evaluate --protocols` prints.
    """
    text = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    assert f"\n\n{table()}\n\n" in text
    assert all(f"\n| `{name}` | " in text for name in PROTOCOLS)


def test_another_number_of_clips_is_another_protocol() -> None:
    """Its name says so, can be asked for, and falls away with the number."""
    reduced = with_clips(get_protocol("styleganv_16f"), 256)
    assert (reduced.name, reduced.num_clips) == ("styleganv_16f@256", 256)
    assert get_protocol("styleganv_16f@256") == reduced
    assert with_clips(reduced, 64).name == "styleganv_16f@64"
    assert with_clips(reduced, 2048) == get_protocol("styleganv_16f")
    assert fitted(get_protocol("small-12f"), 3).name == "small-12f@3"
    assert get_protocol("small-16f") == get_protocol("small")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("xyz", "no evaluation protocol 'xyz'; there are styleganv_16f, .*, small"),
        ("digan@-3", "'digan@-3' must be a protocol's name, @ and a number of clips"),
        ("digan@1", "at least 2 clips, not 1"),
        ("small-8f", "at least 9 frames, not 8: I3D"),
        ("digan-12", "no evaluation protocol 'digan-12'; did you mean digan"),
        ("small@" + "9" * 5000, "a number of clips"),
    ],
)
def test_names_that_are_none(name: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        get_protocol(name)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_clips_lie_inside_videos_that_are_long_enough(protocol: Protocol) -> None:
    """Fails when a clip overruns its video, a short one is used, or a usable one is left out."""
    clips = choose_clips(protocol, LENGTHS, LABELS)
    usable = {video for video, length in enumerate(LENGTHS) if length >= protocol.min_length}
    assert {video for video, _ in clips} == usable
    assert all(0 <= start <= LENGTHS[video] - protocol.span for video, start in clips)
    counts = collections.Counter(video for video, _ in clips)
    if protocol.repeat_videos:
        assert len(clips) == protocol.num_clips and not shortfall(protocol, len(clips))
        assert max(counts.values()) - min(counts.values()) <= 1
    else:
        assert max(counts.values()) == 1
        assert f"up to {protocol.num_clips} clips" in shortfall(protocol, len(clips))[0]


def test_starts_are_uniform_or_in_the_centre() -> None:
    """Fails when the last place is never taken, or all repeats take the same."""
    protocol = dataclasses.replace(get_protocol("styleganv_16f"), num_clips=1)
    starts = collections.Counter(
        choose_clips(protocol, [19], [0], repeat)[0][1] for repeat in range(400)
    )
    assert sorted(starts) == [0, 1, 2, 3] and min(starts.values()) > 60
    centred = choose_clips(get_protocol("small"), [16, 19, 36], [0, 0, 0])
    assert centred == [(0, 0), (1, 1), (2, 10)]


def test_first_videos_in_sorted_order() -> None:
    """Of usable ones; a video's clip stays when more or fewer videos are taken."""
    protocol = with_clips(get_protocol("styleganv_16f"), 3)
    clips = choose_clips(protocol, LENGTHS, LABELS)
    assert [video for video, _ in clips] == [0, 2, 3]
    assert clips == choose_clips(with_clips(protocol, 5), LENGTHS, LABELS)[:3]
    assert clips != choose_clips(dataclasses.replace(protocol, seed=1), LENGTHS, LABELS)


def test_balanced_videos_are_spread_over_classes() -> None:
    """Fails when a class gets more than another that still has videos."""
    labels = [0] * 50 + [1] * 3 + [2] * 20 + [3] * 20
    lengths = [16] * len(labels)

    def counts(num_clips: int, repeat: int = 0) -> list[int]:
        protocol = with_clips(get_protocol("styleganv_16f_balanced"), num_clips)
        clips = choose_clips(protocol, lengths, labels, repeat)
        assert len({video for video, _ in clips}) == num_clips
        return np.bincount([labels[video] for video, _ in clips], minlength=4).tolist()

    assert counts(8) == [2, 2, 2, 2]
    assert counts(33) == [10, 3, 10, 10]
    assert counts(63)[1:] == [3, 20, 20]
    # Two clips of four classes: whichever comes first is not always the same.
    assert len({tuple(counts(2, repeat)) for repeat in range(20)}) > 3


def test_random_videos_differ_between_repeats() -> None:
    protocol = with_clips(get_protocol("digan"), 10)
    lengths, labels = [30] * 40, [0] * 40
    chosen = [choose_clips(protocol, lengths, labels, repeat) for repeat in (0, 1, 0)]
    assert chosen[0] == chosen[2] != chosen[1]
    assert len({video for video, _ in chosen[0]}) == 10
    # With fewer videos than clips, each gives a second one elsewhere before any gives a third.
    again = choose_clips(with_clips(protocol, 80), lengths, labels)
    assert len(set(again)) > 70


@pytest.mark.parametrize(
    ("name", "longest", "shorter"),
    [
        ("styleganv_16f@256", 9, "styleganv_16f-9f"),
        ("styleganv_128f_s8", 100, "styleganv_128f_s8-12f"),
        ("styleganv_128f_s8", 71, None),
        ("small", 0, None),
    ],
)
def test_short_videos_get_advice_that_works(name: str, longest: int, shorter: str | None) -> None:
    """Fails when a protocol is advised that is not there, or whose clips do not fit either."""
    with pytest.raises(UserError) as caught:
        choose_clips(get_protocol(name), [longest] * 5, [0] * 5)
    message = str(caught.value)
    assert message.startswith(f"protocol {name} needs videos of at least ")
    if shorter is None:
        assert message.rpartition(": ")[2].startswith("I3D takes clips of at least 9 frames")
        return
    assert f"--protocol={shorter}, " in message
    found = get_protocol(shorter)
    assert len(choose_clips(found, [longest] * 5, [0] * 5)) == 5
    usual = get_protocol(shorter.rpartition("-")[0])
    same = dataclasses.asdict(usual).items() & dataclasses.asdict(found).items()
    changed = {field.name for field in dataclasses.fields(usual)} - {knob for knob, _ in same}
    assert changed == {"name", "num_frames", "description", "source"}
    assert "not comparable" in found.source and usual.name in caveat(found)[0]
    assert caveat(usual) == [] and get_protocol(f"{shorter}@7").name == f"{shorter}@7"
