"""The data card: what a dataset holds, what was left out and why, as JSON and as Markdown."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

_MOST_ROWS = 40


@dataclass(frozen=True)
class SplitFacts:
    """Counts of one split.

    Attributes:
      videos, frames, shards: numbers; an input that was cut gives several videos.
      bytes: of the shards.
      fingerprint: 16 hex digits of all that a reader sees, in order.
      classes: videos per class name.
    """

    videos: int
    frames: int
    shards: int
    bytes: int
    fingerprint: str
    classes: Mapping[str, int]


@dataclass(frozen=True)
class Card:
    """What came of a preparation.

    Attributes:
      accepted: usable inputs.
      split: how train and test came about.
      splits: facts by split.
      notices: sentences on how the input was understood.
      class_names: what labels index.
      lengths: "frames" of usable inputs: least, median, most and a histogram over powers of two.
      fps: usable inputs by frames per second as stored, "unknown" for images.
      sizes: usable inputs by their own size, "640x360".
      warnings: {"video", "warning"} of usable inputs that are damaged.
      rejected: {"video", "reason"} of all others.
      fingerprint: of all splits together.
    """

    accepted: int
    split: str
    splits: Mapping[str, SplitFacts]
    notices: Sequence[str]
    class_names: Sequence[str]
    lengths: Mapping[str, object]
    fps: Mapping[str, int]
    sizes: Mapping[str, int]
    warnings: Sequence[Mapping[str, str]]
    rejected: Sequence[Mapping[str, str]]
    fingerprint: str

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def length_facts(lengths: Sequence[int]) -> dict[str, object]:
    """Least, median and most of some lengths, and how many lie in 1, 2-3, 4-7, 8-15, ..."""
    bins = Counter(length.bit_length() - 1 for length in lengths)
    return {
        "least": min(lengths),
        "median": statistics.median_low(lengths),
        "most": max(lengths),
        "histogram": {f"{2**low}-{2 ** (low + 1) - 1}": bins[low] for low in sorted(bins)},
    }


def counts(values: Iterable[str]) -> dict[str, int]:
    """How often each value occurs, the most frequent first."""
    return dict(Counter(values).most_common())


def markdown(card: Card, dataset: str, command: str) -> str:
    """The card for people; long lists are cut short, the JSON beside it has them whole."""
    parts = [
        f"# Data card: {dataset}",
        f"Made by\n\n    {command}",
        f"Content fingerprint `{card.fingerprint}`. {card.accepted} usable inputs; {card.split}.",
        *(f"Note: {notice}." for notice in card.notices),
        _splits_table(card.splits),
        "## Frames per input",
        f"{card.lengths['least']} to {card.lengths['most']}, median {card.lengths['median']}",
        _table(("frames", "inputs"), card.lengths["histogram"].items()),
        "## Frames per second",
        _table(("fps", "inputs"), card.fps.items()),
        "## Size of the inputs",
        _table(("pixels", "inputs"), card.sizes.items()),
    ]
    if card.class_names:
        rows = [
            (name, *(split.classes.get(name, 0) for split in card.splits.values()))
            for name in card.class_names
        ]
        parts += ["## Videos per class", _table(("class", *card.splits), rows, most=len(rows))]
    for title, entries, what in (
        ("Rejected", card.rejected, "reason"),
        ("Damaged, used as far as they go", card.warnings, "warning"),
    ):
        rows = [(f"`{entry['video']}`", entry[what]) for entry in entries]
        parts += [f"## {title}: {len(rows)}", _table(("input", what), rows)] if rows else []
    return "\n\n".join(parts) + "\n"


def _splits_table(splits: Mapping[str, SplitFacts]) -> str:
    head = ("split", "videos", "frames", "shards", "MB", "fingerprint")
    rows = []
    for name, facts in splits.items():
        numbers = (facts.videos, facts.frames, facts.shards)
        rows.append((name, *numbers, f"{facts.bytes / 1e6:.1f}", f"`{facts.fingerprint}`"))
    return _table(head, rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]], most: int = _MOST_ROWS) -> str:
    rows = list(rows)
    shown = [[str(cell).replace("|", "\\|") for cell in row] for row in rows[:most]]
    if len(rows) > most:
        shown.append([f"and {len(rows) - most} more", *[""] * (len(head) - 1)])
    lines = [head, ["---"] * len(head), *shown]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
