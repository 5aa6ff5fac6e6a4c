"""Finds records of one split that are, in good part, records of another, by their frames.

Frames are the same if their JPEG bytes are, which two copies of a video give when prepared alike.
A record counts as a duplicate of another if it shares at least two different frames with it, and at
least half of the different frames of the one that has fewer. Frames that many records have, black
ones and title cards, do not count; nor does a single still picture.

Dimension key: T frames of a record, N different frames of every record of a split, R records.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_MOST_RECORDS = 16


@dataclass(frozen=True)
class FrameIndex:
    """The frames of a split, 12 bytes each.

    Attributes:
      digests_N: uint64, ascending.
      records_N: int32, the record that each is of.
      counts_R: different frames of each record.
    """

    digests_N: np.ndarray
    records_N: np.ndarray
    counts_R: np.ndarray

    def shared_with(self, digests_T: np.ndarray) -> Iterator[tuple[int, int]]:
        """The records that another record duplicates, each with the number of shared frames."""
        digests = np.unique(digests_T)
        begins, ends = (
            np.searchsorted(self.digests_N, digests, side) for side in ("left", "right")
        )
        places = [
            self.records_N[begin:end]
            for begin, end in zip(begins, ends, strict=True)
            if 0 < end - begin <= _MOST_RECORDS
        ]
        if not places:
            return
        records, shared = np.unique(np.concatenate(places), return_counts=True)
        needed = np.maximum(2, np.minimum(self.counts_R[records], len(digests)) / 2)
        for record, count in zip(records[shared >= needed], shared[shared >= needed], strict=True):
            yield int(record), int(count)


def index_frames(records: Sequence[np.ndarray]) -> FrameIndex:
    """The index of some records, given the 64-bit digests of their frames."""
    different = [np.unique(digests_T) for digests_T in records]
    counts_R = np.array([len(digests) for digests in different], np.int32)
    digests_N = np.concatenate([np.empty(0, np.uint64), *different])
    order = np.argsort(digests_N)
    records_N = np.repeat(np.arange(len(records), dtype=np.int32), counts_R)
    return FrameIndex(digests_N[order], records_N[order], counts_R)
