"""The training command on a data set that has lost a shard."""

from pathlib import Path
from typing import Any

from tests.data.shards import reshard, without_jpeg_start


def test_lost_shard_is_survived_as_configured(commands: Any, tmp_path: Path) -> None:
    """Fails when allowed damage ends a run, is not said, or is said for every epoch or split.

    (broken: DamageLog made anew for every StageData.batches; no max_damaged at open_videos.)
    """
    # Videos are two records each; frame 5 of the last one is in every clip.
    shard = reshard(
        commands.data, tmp_path / "data", "train", 4,
        lambda index, record: without_jpeg_start(record, 5) if index == 14 else record,
    )[0]  # fmt: skip
    shard.unlink()
    flags = [*commands.train_flags(tmp_path / "run"), f"--config.data.dir={tmp_path / 'data'}"]
    flags += ["--stage=codec", "--config.data.workers=1", "--config.codec.frames_per_clip=8"]

    survived = commands.succeed("main", *flags, "--config.data.max_damaged=0.4")
    said = [line for line in survived.stderr.splitlines() if line.startswith("damaged video")]
    assert len(said) == 3 and said[-1].startswith("damaged video 3, of at most 3: ")
    assert sum(f"its shard {shard} is missing" in line for line in said) == 2
    assert (tmp_path / "run" / "codec").is_dir()

    flags[1] = f"--workdir={tmp_path / 'refused'}"
    refused = commands.refuse("main", *flags, "--config.data.max_damaged=0.2")
    assert "error: 1 of 4 shards are missing" in refused
    assert "2 of 8 videos, of which config.data.max_damaged=0.2 allows 1:" in refused
