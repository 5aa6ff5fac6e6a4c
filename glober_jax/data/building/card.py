"""The data card: what a dataset holds, what was left out and why, as JSON and as Markdown."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from glober_jax.data.building.make_shards import InputFacts, rejected
from glober_jax.data.building.shard_file import ShardFacts, fingerprint, join_digests
from glober_jax.data.media.tree import Listing

_MOST_ROWS = 40


def make_card(
    listing: Listing,
    how: str,
    facts: Mapping[str, InputFacts],
    shards: Mapping[str, Sequence[ShardFacts]],
) -> dict[str, Any]:
    """The card of a dataset, as it is stored as JSON; for the arguments see `make_shards`.

    "accepted" counts usable inputs, on which "lengths", "fps", "sizes" and "warnings" are; "split"
    is a sentence, "splits" has numbers and videos per class; "fingerprint" is of all.
    """
    usable = {name: fact for name, fact in facts.items() if not fact.reason}
    classes = {item.video_id: item.class_name for item in listing.items}
    splits = {}
    for split, some in shards.items():
        pieces = (classes[name] for name, fact in usable.items() for p in fact.pieces if p == split)
        splits[split] = {
            "videos": sum(len(shard.lengths) for shard in some),
            "frames": sum(sum(shard.lengths) for shard in some),
            "shards": len(some),
            "bytes": sum(shard.num_bytes for shard in some),
            "fingerprint": fingerprint(some),
            "classes": _counts(pieces) if listing.class_names else {},
        }
    held_out = sum("test" in fact.pieces for fact in usable.values())
    lengths = [fact.num_frames for fact in usable.values()]
    bins = sorted(Counter(length.bit_length() - 1 for length in lengths).items())
    return {
        "accepted": len(usable),
        "split": how.format(held_out, len(usable)),
        "splits": splits,
        "notices": list(listing.notices),
        "class_names": list(listing.class_names),
        "lengths": {
            "least": min(lengths),
            "median": statistics.median_low(lengths),
            "most": max(lengths),
            "histogram": {f"{2**low}-{2 ** (low + 1) - 1}": count for low, count in bins},
        },
        "fps": _counts(f"{fact.fps:g}" if fact.fps else "unknown" for fact in usable.values()),
        "sizes": _counts(f"{fact.width}x{fact.height}" for fact in usable.values()),
        "warnings": [
            {"video": name, "warning": warning}
            for name, fact in usable.items()
            for warning in fact.warnings
        ],
        "rejected": [
            {"video": name, "reason": reason} for name, reason in rejected(listing, facts).items()
        ],
        "fingerprint": join_digests(split["fingerprint"] for split in splits.values()),
    }


def markdown(card: Mapping[str, Any], dataset: str, command: str) -> str:
    """The card for people; long lists are cut short, the JSON beside it has them whole."""
    splits, lengths = card["splits"], card["lengths"]
    parts = [
        f"# Data card: {dataset}",
        f"Made by\n\n    {command}",
        f"Content fingerprint `{card['fingerprint']}`. {card['accepted']} usable inputs; "
        f"{card['split']}.",
        *(f"Note: {notice}." for notice in card["notices"]),
        _table(
            ("split", "videos", "frames", "shards", "MB", "fingerprint"),
            [
                (name, s["videos"], s["frames"], s["shards"], f"{s['bytes'] / 1e6:.1f}",
                 f"`{s['fingerprint']}`")
                for name, s in splits.items()
            ],
        ),
        "## Frames per input",
        f"{lengths['least']} to {lengths['most']}, median {lengths['median']}",
        _table(("frames", "inputs"), lengths["histogram"].items()),
        "## Frames per second\n\n" + _table(("fps", "inputs"), card["fps"].items()),
        "## Size of the inputs\n\n" + _table(("pixels", "inputs"), card["sizes"].items()),
    ]  # fmt: skip
    if class_names := card["class_names"]:
        rows = [
            (name, *(split["classes"].get(name, 0) for split in splits.values()))
            for name in class_names
        ]
        parts += ["## Videos per class", _table(("class", *splits), rows, most=len(rows))]
    for title, entries, what in (
        ("Rejected", card["rejected"], "reason"),
        ("Damaged, used as far as they go", card["warnings"], "warning"),
    ):
        rows = [(f"`{entry['video']}`", entry[what]) for entry in entries]
        parts += [f"## {title}: {len(rows)}", _table(("input", what), rows)] if rows else []
    return "\n\n".join(parts) + "\n"


def _counts(values: Iterable[str]) -> dict[str, int]:
    """How often each value occurs, the most frequent first."""
    return dict(Counter(values).most_common())


def _table(head: Sequence[str], rows: Iterable[Sequence[object]], most: int = _MOST_ROWS) -> str:
    rows = list(rows)
    shown = [[str(cell).replace("|", "\\|") for cell in row] for row in rows[:most]]
    if len(rows) > most:
        shown.append([f"and {len(rows) - most} more", *[""] * (len(head) - 1)])
    lines = [head, ["---"] * len(head), *shown]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
