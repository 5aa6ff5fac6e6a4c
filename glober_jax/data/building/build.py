"""From inputs to a TFDS dataset in one pass: decide on splits and shards, then make every shard."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from glober_jax.data.building.card import Card, SplitFacts, counts, length_facts
from glober_jax.data.building.encode import Decoder, FrameOptions, InputFacts
from glober_jax.data.building.make_shard import LoadEncoder, MakeShard, Part
from glober_jax.data.building.runners import Runner
from glober_jax.data.building.shard_file import (
    ShardFacts,
    fingerprint,
    join_digests,
    shard_files,
    write_metadata,
)
from glober_jax.data.building.splits import (
    SPLITS,
    HeldOut,
    Item,
    SplitOptions,
    cut_shards,
    hold_out,
)
from glober_jax.data.media.captions import captions_digest
from glober_jax.data.media.order import natural_key
from glober_jax.data.media.tree import Listing
from glober_jax.data.schema import CLASS_NAMES, TEXT, TextInfo, record_features
from glober_jax.errors import UserError
from glober_jax.progress import Progress


@dataclass(frozen=True)
class Recipe:
    """A dataset to make.

    Attributes:
      dataset, description: its name, a Python identifier, and one line on it.
      listing: the inputs.
      decode: how an item of the listing becomes frames; picklable.
      frames, splits: what becomes of the frames.
      unit: what the inputs' `num_bytes` counts.
      least_per_shard: how much of it a shard is made of, where there is so much.
      encoder: what embeds captions, or None to store captions alone.
    """

    dataset: str
    description: str
    listing: Listing
    decode: Decoder
    frames: FrameOptions
    splits: SplitOptions
    unit: str
    least_per_shard: int
    encoder: LoadEncoder | None = None


def write_dataset(recipe: Recipe, folder: Path, run: Runner) -> Card:
    """Makes the dataset in `folder`/DATASET/VERSION, going on from what an earlier run left there.

    Args:
      recipe: what to make.
      folder: the recipe's own; everybody who runs tasks must see it.
      run: runs the tasks, each of which makes a shard.

    Returns:
      What became of the inputs.

    Raises:
      UserError: no input is usable, nothing could be held out for testing, or a worker died.
    """
    class_names = _class_names(recipe.listing)
    labels = {name: label for label, name in enumerate(class_names)}
    make = MakeShard(recipe.decode, recipe.frames, recipe.splits, labels, recipe.encoder)
    parts, how, facts = _make_shards(recipe, make, folder, run)
    metadata: dict[str, object] = {CLASS_NAMES: list(class_names)}
    text_width = None
    if recipe.encoder is not None:
        encoder = recipe.encoder()
        text_width = encoder.width
        usable = (item for item in recipe.listing.items if not facts[item.video_id].reason)
        digest = captions_digest({item.video_id: item.caption for item in usable})
        metadata[TEXT] = vars(TextInfo(encoder.length, text_width, encoder.digest, digest))
    shards = write_metadata(
        folder,
        recipe.dataset,
        recipe.description,
        record_features(text_width),
        {split: [part.files[split] for part in parts if split in part.files] for split in SPLITS},
        metadata,
    )
    return _card(recipe.listing, how, facts, shards, class_names)


def _class_names(listing: Listing) -> tuple[str, ...]:
    if listing.class_names is not None:
        return listing.class_names
    names = {item.class_name for item in listing.items if item.class_name is not None}
    return tuple(sorted(names, key=natural_key))


def _make_shards(
    recipe: Recipe, make: MakeShard, folder: Path, run: Runner
) -> tuple[list[Part], str, dict[str, InputFacts]]:
    """Makes the shards of both splits.

    Returns:
      Them, how the splits came about, and what came of each input.
    """
    listing, facts = recipe.listing, {}
    items, divide = listing.items, True
    while True:
        try:
            held_out = hold_out(items, recipe.splits.test_fraction, divide=divide)
        except UserError as error:
            # There might have been enough of them.
            reasons = _reasons(listing, facts)
            unused = f"; these cannot be used:\n{reasons}" if reasons else ""
            raise UserError(f"{error}{unused}") from error
        parts = _parts(recipe, held_out, make.labels, folder)
        left = [part for part in parts if not part.is_finished]
        total, todo = (sum(sum(part.sizes) for part in some) for some in (parts, left))
        with Progress("decoding", total, total - todo, unit=recipe.unit) as progress:
            if left:
                run(make, left, progress.advance, folder)
        facts |= {item.video_id: fact for part in parts for item, fact in part.facts()}
        items = [item for item in items if not facts[item.video_id].reason]
        if not items:
            raise UserError(f"none of the videos can be used:\n{_reasons(listing, facts)}")
        if len({split for item in items for split in facts[item.video_id].pieces}) == len(SPLITS):
            return parts, held_out.how, facts
        # All that should be held out are damaged, or too short to be divided: hold out others.
        divide = divide and not held_out.is_divided


def _parts(
    recipe: Recipe, held_out: HeldOut, labels: Mapping[str, int], folder: Path
) -> list[Part]:
    """What every shard is made of."""
    parts = []
    for splits, items in held_out.inputs.items():
        sizes = [item.num_bytes() for item in items]
        cuts = cut_shards(sizes, recipe.least_per_shard)
        files = [shard_files(folder, recipe.dataset, split, len(cuts)) for split in splits]
        for cut, *own in zip(cuts, *files, strict=True):
            stamp = _stamp(items[cut], sizes[cut], labels, splits)
            own_files = dict(zip(splits, own, strict=True))
            parts.append(Part(own_files, items[cut], sizes[cut], stamp))
    return parts


def _stamp(
    items: Sequence[Item], sizes: Sequence[int], labels: Mapping[str, int], splits: Sequence[str]
) -> str:
    """16 hex digits that change with anything shards of these inputs are made of."""
    facts = [
        (item.video_id, size, item.stamp(), labels.get(item.class_name), item.caption)
        for item, size in zip(items, sizes, strict=True)
    ]
    return hashlib.sha256(repr((splits, facts)).encode()).hexdigest()[:16]


def _rejected(listing: Listing, facts: Mapping[str, InputFacts]) -> dict[str, str]:
    """Why inputs cannot be used, as far as they have been looked at."""
    reasons = {item.video_id: item.reason for item in listing.rejections}
    return reasons | {name: fact.reason for name, fact in facts.items() if fact.reason}


def _reasons(listing: Listing, facts: Mapping[str, InputFacts]) -> str:
    rejected = _rejected(listing, facts)
    return "\n".join(f"  {name}: {reason}" for name, reason in rejected.items())


def _card(
    listing: Listing,
    how: str,
    facts: Mapping[str, InputFacts],
    shards: Mapping[str, Sequence[ShardFacts]],
    class_names: tuple[str, ...],
) -> Card:
    usable = {name: fact for name, fact in facts.items() if not fact.reason}
    classes = {item.video_id: item.class_name for item in listing.items}
    splits = {}
    for split, some in shards.items():
        pieces = (classes[name] for name, fact in usable.items() for p in fact.pieces if p == split)
        splits[split] = SplitFacts(
            videos=sum(len(shard.lengths) for shard in some),
            frames=sum(sum(shard.lengths) for shard in some),
            shards=len(some),
            bytes=sum(shard.num_bytes for shard in some),
            fingerprint=fingerprint(some),
            classes=counts(pieces) if class_names else {},
        )
    held_out = sum("test" in fact.pieces for fact in usable.values())
    return Card(
        accepted=len(usable),
        split=how.format(held_out, len(usable)),
        splits=splits,
        notices=listing.notices,
        class_names=class_names,
        lengths=length_facts([fact.num_frames for fact in usable.values()]),
        fps=counts(f"{fact.fps:g}" if fact.fps else "unknown" for fact in usable.values()),
        sizes=counts(f"{fact.width}x{fact.height}" for fact in usable.values()),
        warnings=[
            {"video": name, "warning": warning}
            for name, fact in usable.items()
            for warning in fact.warnings
        ],
        rejected=[
            {"video": name, "reason": reason} for name, reason in _rejected(listing, facts).items()
        ],
        fingerprint=join_digests(facts.fingerprint for facts in splits.values()),
    )
