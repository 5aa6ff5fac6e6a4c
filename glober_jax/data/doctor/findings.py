"""What can be wrong with a dataset, as data."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "description",
    "shard",
    "record",
    "frames",
    "content",
    "video_id",
    "frame_size",
    "short_clip",
    "duplicate",
    "repeat",
]
HEADINGS: dict[Kind, str] = {
    "description": "damaged descriptions of the data set",
    "shard": "damaged shards",
    "record": "damaged records",
    "frames": "corrupt frames",
    "content": "changed since it was prepared",
    "video_id": "video_ids used twice",
    "frame_size": "frames of another size",
    "short_clip": "short clips",
    "duplicate": "duplicate clips across splits",
    "repeat": "repeated clips within a split",
}
# Of these training would notice; the others are about which videos the data set was made of.
DAMAGE: tuple[Kind, ...] = (
    "description",
    "shard",
    "record",
    "frames",
    "content",
    "video_id",
    "frame_size",
)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
      kind: which sort of thing.
      what: a sentence that begins in the middle, after the place.
      split, shard: where; "" where it concerns more than one. A shard goes by its file's name.
      record: its number in the shard, from 0; of several in a row the first.
      video_id: of that record, "" where it cannot be read.
    """

    kind: Kind
    what: str
    split: str = ""
    shard: str = ""
    record: int | None = None
    video_id: str = ""

    def __str__(self) -> str:
        number = "" if self.record is None else f"record {self.record}"
        place = [part for part in (self.shard or self.split, number, self.video_id) if part]
        return f"{', '.join(place)}: {self.what}" if place else self.what
