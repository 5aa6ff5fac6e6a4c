"""Checks a prepared dataset: every shard, then what only all of them together show.

Memory: about 500 bytes per video and 10 per frame, 60 per frame of the smaller split, and in each
process one record.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from glober_jax.data.building.output_folder import VERSION, dataset_folders
from glober_jax.data.building.pool import run_tasks
from glober_jax.data.building.shard_file import join_digests
from glober_jax.data.datasets.make import DATASETS
from glober_jax.data.doctor.description import Description, read_description
from glober_jax.data.doctor.duplicates import index_frames
from glober_jax.data.doctor.findings import DAMAGE, HEADINGS, Finding
from glober_jax.data.doctor.shard_check import CheckShard, Shard, ShardResult, VideoFacts
from glober_jax.errors import UserError
from glober_jax.progress import Progress


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """Each field is the flag of the same name.

    Attributes:
      input: the output of an earlier preparation.
      min_frames: shorter videos are findings.
    """

    input: str
    min_frames: int = 16

    def __post_init__(self) -> None:
        if self.min_frames < 1:
            raise UserError(f"--min_frames must be at least 1, not {self.min_frames}")


@dataclass(frozen=True)
class Diagnosis:
    """What there is and what is wrong with it.

    Attributes:
      videos, frames: how many could be read.
      command: what made the dataset; "" where unknown.
      findings: sorted by kind and place.
    """

    videos: int
    frames: int
    command: str
    findings: Sequence[Finding]

    def to_dict(self) -> dict[str, Any]:
        return {"healthy": not self.findings, **asdict(self)}


def find_dataset(directory: Path) -> Path:
    """The version folder of the dataset in a folder, whatever is left of it.

    Raises:
      UserError: there is none that `glober_jax.prepare` made of videos, or more than one.
    """
    found = [folder for name in DATASETS if (folder := directory / name / VERSION).is_dir()]
    if not found:
        others = [folder.parent.name for folder in dataset_folders(directory)]
        if DATASETS.keys() & others:
            raise UserError(
                f"{directory} was prepared by an earlier version, whose files are not read any "
                "more: run the command that made it again, with --overwrite"
            )
        raise UserError(
            f"{directory} holds no data set of videos that prepare made"
            + (f", only {', '.join(others)}" if others else "")
            + ": pass the --output of an earlier python -m glober_jax.prepare"
        )
    if len(found) > 1:
        names = ", ".join(folder.parent.name for folder in found)
        raise UserError(f"{directory} holds several datasets ({names}): keep one per folder")
    return found[0]


def examine(directory: Path, *, min_frames: int, workers: int = 1) -> Diagnosis:
    """Reads all of the dataset in `directory` and says what is wrong with it.

    Args:
      directory, min_frames: see `DoctorOptions`.
      workers: processes to read with.

    Raises:
      UserError: `find_dataset` finds none, or a worker died.
    """
    description, findings = read_description(find_dataset(directory))
    class_names = description.class_names
    num_labels = None if class_names is None else len(class_names)
    task = CheckShard(description.text_shape, num_labels, min_frames)
    videos, found = _check_shards(task, description.shards, workers)
    findings += found
    for split, shards in description.shards.items():
        if not shards:
            findings.append(Finding("shard", "has no shards", split))
        elif not any(finding.kind in DAMAGE and finding.split == split for finding in findings):
            findings += _content(split, videos[split], description)
        findings += _repeats(videos[split])
    every = [video for split in description.shards for video in videos[split]]
    findings += _frame_sizes(every)
    kinds = list(HEADINGS)
    findings.sort(key=lambda found: (kinds.index(found.kind), found.split, *_place(found)))
    num_frames = sum(video.num_frames for video in every)
    return Diagnosis(len(every), num_frames, description.command, findings)


def _check_shards(
    task: CheckShard, shards: Mapping[str, Sequence[Shard]], workers: int
) -> tuple[dict[str, list[VideoFacts]], list[Finding]]:
    """The readable videos of each split, in order, and what is wrong in shards or across splits.

    The frames of the smaller split are kept, and those of the larger looked up as they come.
    """
    sizes = {split: sum(shard.num_bytes for shard in files) for split, files in shards.items()}
    smaller, larger = sorted(sizes, key=sizes.__getitem__)
    with Progress("checking", sum(sizes.values()), unit="byte") as progress:

        def check(split: str) -> Iterator[ShardResult]:
            for _, result in run_tasks(task, shards[split], progress.advance, workers=workers):
                yield result

        first = list(check(smaller))
        index = index_frames([frames for result in first for frames in result.frames])
        findings = [finding for result in first for finding in result.findings]
        videos = {smaller: [video for result in first for video in result.videos], larger: []}
        for result in check(larger):
            findings += result.findings
            videos[larger] += result.videos
            for video, frames in zip(result.videos, result.frames, strict=True):
                for place, shared in index.shared_with(frames):
                    findings.append(_duplicate(videos[smaller][place], video, shared))
    return {split: sorted(found, key=_place) for split, found in videos.items()}, findings


def _duplicate(one: VideoFacts, other: VideoFacts, shared: int) -> Finding:
    test, train = sorted((one, other), key=lambda video: video.split)
    what = f"shares {shared} of its {test.num_frames} frames with {_name(train)}"
    return test.finding("duplicate", what)


def _content(
    split: str, videos: Sequence[VideoFacts], description: Description
) -> Iterator[Finding]:
    lengths = tuple(video.num_frames for video in videos)
    if description.lengths.get(split, lengths) != lengths:
        what = "metadata.json says of the videos that they have other lengths than they have"
        yield Finding("description", what, split)
    expected = description.fingerprints.get(split)
    found = join_digests(video.digests for video in videos)
    if expected not in (None, found):
        what = f"the fingerprint of its records is {found}, not {expected} as prepare wrote it"
        yield Finding("content", what, split)


def _repeats(videos: Sequence[VideoFacts]) -> Iterator[Finding]:
    by_id: dict[str, VideoFacts] = {}
    by_frames: dict[bytes, VideoFacts] = {}
    for video in videos:
        if (other := by_id.setdefault(video.video_id, video)) is not video:
            yield video.finding("video_id", f"{_name(other)} has the same")
        if (other := by_frames.setdefault(video.frames_digest, video)) is not video:
            yield video.finding("repeat", f"has the same frames as {_name(other)}")


def _frame_sizes(videos: Sequence[VideoFacts]) -> Iterator[Finding]:
    sizes = Counter(video.size for video in videos if video.size)
    usual = max(sizes, key=sizes.__getitem__, default=None)
    for video in videos:
        if video.size not in (None, usual):
            what = "has frames of {}x{} pixels, most others {}x{}".format(*video.size, *usual)
            yield video.finding("frame_size", what)


def _name(video: VideoFacts) -> str:
    return f"{video.video_id} (record {video.record} of {video.shard})"


def _place(found: Finding | VideoFacts) -> tuple[str, int]:
    return found.shard, -1 if found.record is None else found.record
