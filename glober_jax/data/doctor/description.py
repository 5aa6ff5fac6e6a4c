"""What the files beside the shards say of a dataset, as far as they can be read.

`metadata.json` and `data_card.json` repeat each other in part, and the names of shards say how many
there are: where one of the files is broken, the others have to do.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import tensorflow_datasets as tfds

from glober_jax.data.building.output_folder import CARD
from glober_jax.data.building.shard_file import shard_paths
from glober_jax.data.doctor.findings import Finding
from glober_jax.data.doctor.shard_check import Shard
from glober_jax.data.schema import (
    CHECKSUMS,
    CLASS_NAMES,
    FINGERPRINT,
    TEXT,
    VIDEO_LENGTHS,
    TextInfo,
    record_features,
)

SPLITS = ("train", "test")
_INFO, _FEATURES, _METADATA = "dataset_info.json", "features.json", "metadata.json"

Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class Description:
    """What is known of a dataset.

    Attributes:
      shards: those of each split, in order.
      class_names: None where unknown.
      text_shape: (L, E) of every video's embeddings, L None where unknown; None where it has none.
      fingerprints: by split, where known.
      lengths: of the videos in every split, where known.
      command: what made it; "" where unknown.
    """

    shards: Mapping[str, Sequence[Shard]]
    class_names: tuple[str, ...] | None
    text_shape: tuple[int | None, int] | None
    fingerprints: Mapping[str, str]
    lengths: Mapping[str, Sequence[int]]
    command: str


@dataclass(frozen=True)
class _Metadata:
    """What `metadata.json` or the card says; the latter lacks some of it."""

    class_names: tuple[str, ...]
    fingerprints: Mapping[str, str]
    checksums: Mapping[str, Sequence[str]] = field(default_factory=dict)
    lengths: Mapping[str, Sequence[int]] = field(default_factory=dict)
    text_length: int | None = None
    text_width: int | None = None
    command: str = ""


@dataclass(frozen=True)
class _Features:
    text_width: int | None = None


def read_description(folder: Path) -> tuple[Description, list[Finding]]:
    """Reads what describes the dataset version in `folder`, and says what is wrong with it."""
    findings: list[Finding] = []

    def read(path: Path, parse: Callable[[Any], Parsed]) -> Parsed | None:
        try:
            return parse(json.loads(path.read_text("utf-8")))
        except FileNotFoundError:
            what = "is missing"
        except OSError as error:
            what = f"cannot be read ({error.strerror})"
        except Exception:
            # Whatever parsing raises, and that may be anything, the content is the reason.
            what = "is damaged: it is not what prepare writes"
        findings.append(Finding("description", f"{path.name} {what}"))
        return None

    lengths = read(folder / _INFO, _shard_lengths)
    features = read(folder / _FEATURES, _features)
    metadata = read(folder / _METADATA, _metadata)
    card = read(folder.parent.parent / CARD, _card)
    if metadata and card and _differ(metadata, card, "class_names", "fingerprints"):
        findings.append(_changed(f"{_METADATA} and {CARD}", "class names or fingerprints"))
    if metadata and features and _differ(metadata, features, "text_width"):
        findings.append(_changed(f"{_METADATA} and {_FEATURES}", "embedded captions"))
    shards = {
        split: _shards(folder, split, lengths, metadata.checksums if metadata else {})
        for split in SPLITS
    }
    if not findings and not _opens(folder, shards):
        what = f"{_INFO} is damaged: TFDS does not find the shards by it"
        findings.append(Finding("description", what))
    known = metadata or card
    text_length = metadata.text_length if metadata else None
    text_width = (features or metadata or _Features()).text_width
    return (
        Description(
            shards,
            known.class_names if known else None,
            None if text_width is None else (text_length, text_width),
            known.fingerprints if known else {},
            known.lengths if known else {},
            card.command if card else "",
        ),
        findings,
    )


def _shard_lengths(content: Any) -> dict[str, list[int]]:
    """The numbers of records of the shards of each split."""
    lengths = {split["name"]: list(map(int, split["shardLengths"])) for split in content["splits"]}
    return {split: lengths[split] for split in SPLITS}


def _features(content: Any) -> _Features:
    features = tfds.features.FeaturesDict.from_json(content)
    text_width = features[TEXT].shape[1] if TEXT in features else None
    if features.to_json() != record_features(text_width).to_json():
        raise ValueError("other features")
    return _Features(text_width)


def _metadata(content: Any) -> _Metadata:
    text = TextInfo(**content[TEXT]) if TEXT in content else None
    return _Metadata(
        tuple(content[CLASS_NAMES]),
        {split: content[FINGERPRINT][split] for split in SPLITS},
        # What was not written by prepare itself may have none.
        {split: tuple(content[CHECKSUMS][split]) for split in SPLITS if CHECKSUMS in content},
        {split: tuple(map(int, content[VIDEO_LENGTHS][split])) for split in SPLITS},
        text.length if text else None,
        text.width if text else None,
    )


def _card(content: Any) -> _Metadata:
    return _Metadata(
        tuple(content["class_names"]),
        {split: content["splits"][split]["fingerprint"] for split in SPLITS},
        command=content["command"],
    )


def _differ(one: object, other: object, *names: str) -> bool:
    return any(getattr(one, name) != getattr(other, name) for name in names)


def _changed(files: str, subject: str) -> Finding:
    return Finding("description", f"{files} disagree on {subject}: one of them was changed")


def _opens(folder: Path, shards: Mapping[str, Sequence[Shard]]) -> bool:
    try:
        splits = tfds.builder_from_directory(folder).info.splits
        return all(
            [Path(path) for path in splits[split].filepaths] == [shard.path for shard in files]
            for split, files in shards.items()
        )
    except Exception:
        # Failed asserts, missing keys and a dozen more.
        return False


def _shards(
    folder: Path,
    split: str,
    lengths: Mapping[str, Sequence[int]] | None,
    checksums: Mapping[str, Sequence[str]],
) -> list[Shard]:
    if lengths is None:
        names = " ".join(path.name for path in folder.glob(f"*-{split}.array_record-*"))
        count = max(map(int, re.findall(r"-of-(\d{5})\b", names)), default=0)
        known: Sequence[int | None] = [None] * count
    else:
        known = lengths[split]
    paths = shard_paths(folder, split, len(known))
    sums = checksums.get(split, ())
    sums = sums if len(sums) == len(paths) else [None] * len(paths)
    return [Shard(*facts, split) for facts in zip(paths, known, sums, strict=True)]
