"""From inputs to a TFDS dataset: decode all, decide on splits, write shards. Resumable throughout.

Frames go through spool files on disk, because only when all inputs are decoded it is known which
are usable and how long they are. A spool file is deleted as soon as its frames are in finished
shards, so the disk never holds much more than the dataset once.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from glober_jax.data.building.card import Card, SplitFacts, counts, length_facts
from glober_jax.data.building.extract import (
    Decoder,
    Extracted,
    ExtractUnit,
    FrameOptions,
    Item,
    Unit,
    units_of,
)
from glober_jax.data.building.shard_file import join_digests, write_metadata
from glober_jax.data.building.shards import PlannedVideo, Shard, WriteShard, cut_shards
from glober_jax.data.building.split_plan import SplitPlan, Stretch, plan_splits
from glober_jax.data.building.workers import run_tasks
from glober_jax.data.media.captions import TextEncoder, captions_digest
from glober_jax.data.media.order import natural_key
from glober_jax.data.media.tree import Listing
from glober_jax.data.schema import CLASS_NAMES, TEXT, TextInfo, record_features
from glober_jax.errors import UserError
from glober_jax.progress import Progress


@dataclass(frozen=True)
class SplitOptions:
    """How long videos are cut and what is held out; see `MediaOptions`."""

    min_frames: int
    max_frames: int | None
    test_fraction: float


@dataclass(frozen=True)
class Recipe:
    """A dataset to make.

    Attributes:
      dataset, description: its name, a Python identifier, and one line on it.
      listing: the inputs.
      decode: how an item of the listing becomes frames; picklable.
      frames, splits: what becomes of the frames.
      encoder: what embeds captions, or None to store captions alone.
      unit: what the inputs' `num_bytes` counts.
    """

    dataset: str
    description: str
    listing: Listing
    decode: Decoder
    frames: FrameOptions
    splits: SplitOptions
    encoder: TextEncoder | None = None
    unit: str = "byte"


@dataclass(frozen=True)
class _Usable:
    """An input that frames came of: item number `place` of `unit`. `facts` lack the offsets."""

    item: Item
    unit: Unit
    place: int
    facts: Extracted
    num_frames: int
    num_bytes: int


def write_dataset(recipe: Recipe, folder: Path, *, workers: int = 1) -> Card:
    """Makes the dataset in `folder`/DATASET/VERSION, going on from what an earlier run left there.

    Args:
      recipe: what to make.
      folder: also holds the spool files for the time being; must be the recipe's own.
      workers: processes that decode and write.

    Returns:
      What became of the inputs.

    Raises:
      UserError: no input is usable, nothing could be held out for testing, or a worker died.
    """
    units = _extract(recipe, folder / "spool", workers)
    usable, rejected = _sort_out(recipe, units)
    try:
        plan = plan_splits(
            [video.num_frames for video in usable],
            [video.item.split for video in usable],
            [video.item.group for video in usable],
            min_frames=recipe.splits.min_frames,
            max_frames=recipe.splits.max_frames,
            test_fraction=recipe.splits.test_fraction,
        )
    except UserError as error:
        # There might have been enough of them.
        unused = f"; these cannot be used:\n{_reasons(rejected)}" if rejected else ""
        raise UserError(f"{error}{unused}") from error
    class_names = _class_names(recipe.listing, usable)
    text_info = _embed_captions(units, usable, recipe.encoder)
    shards = _plan_shards(recipe, plan, usable, class_names, folder)
    _write_shards(shards, text_info is not None, workers)
    metadata: dict[str, object] = {CLASS_NAMES: list(class_names)}
    if text_info is not None:
        metadata[TEXT] = vars(text_info)
    fingerprints = write_metadata(
        folder,
        recipe.dataset,
        recipe.description,
        record_features(text_info.width if text_info else None),
        {split: [shard.file for shard in some] for split, some in shards.items()},
        metadata,
    )
    return _card(recipe.listing, plan, usable, rejected, class_names, fingerprints, shards)


def _extract(recipe: Recipe, spool: Path, workers: int) -> list[Unit]:
    """Decodes all inputs that have not been; `num_bytes` of the rest counts as done."""
    spool.mkdir(exist_ok=True)
    units = units_of(recipe.listing.items, spool)
    left = [unit for unit in units if not unit.is_finished]
    sizes = {unit.path: sum(item.num_bytes() for item in unit.items) for unit in units}
    total, todo = sum(sizes.values()), sum(sizes[unit.path] for unit in left)
    task = ExtractUnit(recipe.decode, recipe.frames)
    with Progress("decoding", total, total - todo, unit=recipe.unit) as progress:
        for _ in run_tasks(task, left, progress.advance, workers=workers):
            pass
    return units


def _sort_out(recipe: Recipe, units: Sequence[Unit]) -> tuple[list[_Usable], dict[str, str]]:
    """The usable inputs, and the others with the reason."""
    usable, rejected = [], {item.video_id: item.reason for item in recipe.listing.rejections}
    for unit in units:
        for place, (item, facts) in enumerate(zip(unit.items, unit.read(), strict=True)):
            if facts.reason:
                rejected[item.video_id] = facts.reason
            else:
                # Offsets of all frames of a large dataset would fill the memory.
                size = facts.ends[-1] - facts.begin
                slim = replace(facts, ends=())
                usable.append(_Usable(item, unit, place, slim, len(facts.ends), size))
    if not usable:
        raise UserError(f"none of the videos can be used:\n{_reasons(rejected)}")
    return usable, rejected


def _reasons(rejected: dict[str, str]) -> str:
    return "\n".join(f"  {name}: {reason}" for name, reason in rejected.items())


def _class_names(listing: Listing, usable: Sequence[_Usable]) -> tuple[str, ...]:
    if listing.class_names is not None:
        return listing.class_names
    names = {video.item.class_name for video in usable if video.item.class_name is not None}
    return tuple(sorted(names, key=natural_key))


def _embed_captions(
    units: Sequence[Unit], usable: Sequence[_Usable], encoder: TextEncoder | None
) -> TextInfo | None:
    """Puts a file of embeddings beside every unit, those of unusable inputs included."""
    if encoder is None:
        return None
    with Progress("embedding captions", len(units), unit="unit") as progress:
        for unit in units:
            if not unit.texts.exists():
                captions = [item.caption for item in unit.items]
                draft = unit.path.with_suffix(".partial.npy")
                np.save(draft, encoder(captions))
                draft.replace(unit.texts)
            progress.advance()
    captions = {video.item.video_id: video.item.caption for video in usable}
    return TextInfo(encoder.length, encoder.width, encoder.digest, captions_digest(captions))


def _plan_shards(
    recipe: Recipe,
    plan: SplitPlan,
    usable: Sequence[_Usable],
    class_names: tuple[str, ...],
    folder: Path,
) -> dict[str, list[Shard]]:
    labels = {name: label for label, name in enumerate(class_names)}

    def planned(stretch: Stretch) -> PlannedVideo:
        video = usable[stretch.video]
        whole = (stretch.start, stretch.stop) == (0, video.num_frames)
        name = video.item.video_id + ("" if whole else f"[{stretch.start}:{stretch.stop}]")
        label = labels.get(video.item.class_name, 0)
        size = video.num_bytes * (stretch.stop - stretch.start) // video.num_frames
        return PlannedVideo(video.unit, video.place, stretch.start, stretch.stop, name, label, size)

    return {
        split: cut_shards(folder, recipe.dataset, split, list(map(planned, stretches)))
        for split, stretches in (("train", plan.train), ("test", plan.test))
    }


def _write_shards(splits: dict[str, list[Shard]], with_text: bool, workers: int) -> None:
    """Writes the shards that are missing; deletes what has been spooled for finished ones."""
    shards = [shard for split in splits.values() for shard in split]
    left = [shard for shard in shards if not shard.file.is_finished]
    needed = Counter(path for shard in left for path in shard.spool_files)

    def delete_unneeded(shard: Shard) -> None:
        for path in shard.spool_files:
            if not needed[path]:
                path.unlink(missing_ok=True)

    for shard in shards:
        delete_unneeded(shard)
    total, todo = (sum(shard.num_bytes for shard in some) for some in (shards, left))
    task = WriteShard(with_text)
    with Progress("writing shards", total, total - todo, unit="byte") as progress:
        for shard, _ in run_tasks(task, left, progress.advance, workers=workers):
            needed.subtract(shard.spool_files)
            delete_unneeded(shard)


def _card(
    listing: Listing,
    plan: SplitPlan,
    usable: Sequence[_Usable],
    rejected: dict[str, str],
    class_names: tuple[str, ...],
    fingerprints: dict[str, str],
    shards: dict[str, list[Shard]],
) -> Card:
    splits = {}
    for name, stretches in (("train", plan.train), ("test", plan.test)):
        splits[name] = SplitFacts(
            videos=len(stretches),
            frames=sum(stretch.stop - stretch.start for stretch in stretches),
            shards=len(shards[name]),
            bytes=sum(shard.file.path.stat().st_size for shard in shards[name]),
            fingerprint=fingerprints[name],
            classes=counts(usable[stretch.video].item.class_name for stretch in stretches)
            if class_names
            else {},
        )
    return Card(
        accepted=len(usable),
        split=plan.summary,
        splits=splits,
        notices=listing.notices,
        class_names=class_names,
        lengths=length_facts([video.num_frames for video in usable]),
        fps=counts(f"{video.facts.fps:g}" if video.facts.fps else "unknown" for video in usable),
        sizes=counts(f"{video.facts.width}x{video.facts.height}" for video in usable),
        warnings=[
            {"video": video.item.video_id, "warning": warning}
            for video in usable
            for warning in video.facts.warnings
        ],
        rejected=[{"video": name, "reason": reason} for name, reason in rejected.items()],
        fingerprint=join_digests(fingerprints.values()),
    )
