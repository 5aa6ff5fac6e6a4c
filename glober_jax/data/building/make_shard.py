"""From some inputs to their shard: one task of a preparation, the same wherever it runs."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from glober_jax.data.building.encode import (
    Decoder,
    EncodedFrames,
    FrameOptions,
    InputFacts,
    encode_input,
)
from glober_jax.data.building.pool import OnCount
from glober_jax.data.building.shard_file import ShardFile
from glober_jax.data.building.splits import Item, SplitOptions, pieces_of
from glober_jax.data.media.captions import TextEncoder
from glober_jax.data.schema import VideoRecord, record_digest, records_of, serialize

_CAPTIONS_AT_ONCE = 64


@dataclass(frozen=True)
class Part:
    """The inputs of one shard of a split, or of one of each split.

    Attributes:
      files: where the shards go, by split.
      items, sizes: the inputs in order, and the `num_bytes` of each.
      stamp: changes with anything that the shards are made of.
    """

    files: Mapping[str, ShardFile]
    items: Sequence[Item]
    sizes: Sequence[int]
    stamp: str

    @property
    def name(self) -> str:
        return next(iter(self.files.values())).path.name

    @property
    def is_finished(self) -> bool:
        return all(file.is_finished(self.stamp) for file in self.files.values())

    def facts(self) -> list[tuple[Item, InputFacts]]:
        """What came of each input, once it is finished."""
        entries = next(iter(self.files.values())).read().inputs
        facts = [InputFacts(**entry) for entry in entries]
        return list(zip(self.items, facts, strict=True))


@dataclass(frozen=True)
class LoadEncoder:
    """How to load the text encoder in a folder; picklable, unlike some encoders."""

    load: Callable[[Path], TextEncoder]
    folder: Path

    def __call__(self) -> TextEncoder:
        """Loads it once in every process."""
        return _loaded(self.load, self.folder)


@functools.lru_cache(maxsize=1)
def _loaded(load: Callable[[Path], TextEncoder], folder: Path) -> TextEncoder:
    return load(folder)


@dataclass(frozen=True)
class MakeShard:
    """The task of a worker: decode, encode and write the inputs of a part.

    Attributes:
      decode: how an input becomes frames.
      frames, splits: what becomes of the frames.
      labels: by class name; inputs without a class have label 0.
      encoder: loads what embeds captions; None stores captions alone.
    """

    decode: Decoder
    frames: FrameOptions
    splits: SplitOptions
    labels: Mapping[str | None, int]
    encoder: LoadEncoder | None = None

    def __call__(self, part: Part, on_count: OnCount) -> None:
        """Counts up the size of each input, used or not."""
        inputs: list[InputFacts] = []
        folder = next(iter(part.files.values())).path.parent
        with contextlib.ExitStack() as stack:
            writers = {
                split: stack.enter_context(file.writing(part.stamp, inputs))
                for split, file in part.files.items()
            }
            for item, size, text_LE in zip(part.items, part.sizes, self._texts(part), strict=True):
                remaining = size

                def count(number: int) -> None:
                    nonlocal remaining
                    remaining -= number
                    on_count(number)

                facts, frames = encode_input(item, self.decode, self.frames, folder, count)
                pieces = []
                if not facts.reason:
                    pieces = pieces_of(len(frames), tuple(writers), self.splits)
                for split, start, stop in pieces:
                    records = self._records(item, facts, frames, start, stop, text_LE)
                    stored = ((serialize(record), record_digest(record)) for record in records)
                    writers[split].add(stop - start, stored)
                inputs.append(replace(facts, pieces=[split for split, _, _ in pieces]))
                on_count(remaining)

    def _texts(self, part: Part) -> Iterator[np.ndarray | None]:
        """Embeddings of each item's caption, float16 [L, E]."""
        captions = [item.caption for item in part.items]
        for start in range(0, len(captions), _CAPTIONS_AT_ONCE):
            some = captions[start : start + _CAPTIONS_AT_ONCE]
            yield from self.encoder()(some) if self.encoder else [None] * len(some)

    def _records(
        self,
        item: Item,
        facts: InputFacts,
        frames: EncodedFrames,
        begin: int,
        end: int,
        text_LE: np.ndarray | None,
    ) -> Iterator[VideoRecord]:
        whole = end - begin == len(frames)
        for start, stop in records_of(end - begin):
            yield VideoRecord(
                item.video_id + ("" if whole else f"[{begin}:{end}]"),
                self.labels.get(item.class_name, 0),
                facts.fps,
                end - begin,
                start,
                frames.read(begin + start, begin + stop),
                "" if start else item.caption,
                text_LE[:0] if start and text_LE is not None else text_LE,
            )
