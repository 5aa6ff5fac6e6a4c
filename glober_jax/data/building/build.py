"""From inputs to finished shards in one pass: decide on splits and shards, then make each."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from etils import epath

from glober_jax.data.building.make_shard import InputFacts, MakeShard, Part
from glober_jax.data.building.shard_file import ShardFacts, read_shards, shard_files
from glober_jax.data.building.splits import SPLITS, HeldOut, cut_shards, hold_out
from glober_jax.data.files import forget_listings
from glober_jax.data.media.tree import Listing
from glober_jax.errors import UserError
from glober_jax.progress import Progress

# `run(function, tasks)` calls the function for every task; it may yield those that are done.
Run = Callable[[MakeShard, Sequence[Part]], Iterable[tuple[Part, Any]]]


def make_shards(
    listing: Listing, make: MakeShard, dataset: str, folder: epath.Path, run: Run
) -> tuple[dict[str, list[ShardFacts]], str, dict[str, InputFacts]]:
    """Makes the shards of a dataset in `folder`, but those that an earlier run has left there.

    Returns:
      The shards by split, how the splits came about (see `hold_out`), and facts on each input by
      its id.

    Raises:
      UserError: no input is usable, nothing could be held out for testing, or a worker died.
    """
    items, divide = list(listing.items), True
    facts: dict[str, InputFacts] = {}
    while True:
        try:
            held_out, how = hold_out(items, make.options.test_fraction, divide=divide)
        except UserError as error:
            # Rejected inputs might have been enough.
            reasons = _reasons(listing, facts)
            unused = f"; these cannot be used:\n{reasons}" if reasons else ""
            raise UserError(f"{error}{unused}") from error
        parts = _parts(held_out, make.labels, dataset, folder)
        left = [part for part, shards in zip(parts, _read(parts), strict=True) if shards is None]
        total, todo = (sum(len(part.items) for part in some) for some in (parts, left))
        with Progress("decoding", total, total - todo, unit="video") as progress:
            if left:
                for part, _ in run(make, left):
                    progress.advance(len(part.items))
        forget_listings(folder)
        stored: dict[str, list[ShardFacts]] = {split: [] for split in SPLITS}
        for part, shards in zip(parts, _read(parts), strict=True):
            for split, shard in shards.items():
                stored[split].append(shard)
            inputs = (InputFacts(**entry) for entry in next(iter(shards.values())).inputs)
            facts |= zip((item.video_id for item in part.items), inputs, strict=True)
        items = [item for item in items if not facts[item.video_id].reason]
        if not items:
            raise UserError(f"none of the videos can be used:\n{_reasons(listing, facts)}")
        if {split for item in items for split in facts[item.video_id].pieces} == set(SPLITS):
            return stored, how, facts
        # All that should be held out are damaged, or too short to be divided: hold out others.
        divide = divide and SPLITS not in held_out


def rejected(listing: Listing, facts: Mapping[str, InputFacts]) -> dict[str, str]:
    """Why inputs cannot be used, by id, as far as they have been looked at."""
    return dict(listing.rejections) | {name: f.reason for name, f in facts.items() if f.reason}


def _reasons(listing: Listing, facts: Mapping[str, InputFacts]) -> str:
    return "\n".join(f"  {name}: {reason}" for name, reason in rejected(listing, facts).items())


def _parts(
    held_out: HeldOut, labels: Mapping[str | None, int], dataset: str, folder: epath.Path
) -> list[Part]:
    parts = []
    for splits, items in held_out.items():
        stats = [item.stat() for item in items]
        cuts = cut_shards([num_bytes for num_bytes, _ in stats])
        files = [shard_files(folder, dataset, split, len(cuts)) for split in splits]
        for cut, *own in zip(cuts, *files, strict=True):
            facts = [
                (item.video_id, *stat, labels.get(item.class_name), item.caption)
                for item, stat in zip(items[cut], stats[cut], strict=True)
            ]
            stamp = hashlib.sha256(repr((splits, facts)).encode()).hexdigest()[:16]
            parts.append(Part(dict(zip(splits, own, strict=True)), items[cut], stamp))
    return parts


def _read(parts: Sequence[Part]) -> list[dict[str, ShardFacts] | None]:
    """The shards of each part by split, None where one is not finished."""
    found = iter(read_shards((file, p.stamp) for p in parts for file in p.files.values()))
    read = [{split: next(found) for split in part.files} for part in parts]
    return [None if None in shards.values() else shards for shards in read]
