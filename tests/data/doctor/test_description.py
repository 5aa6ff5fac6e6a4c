"""Descriptions that are gone, broken or edited are findings and do not end the examination."""

from pathlib import Path

import pytest

from tests.data.doctor.planting import examined, found_in, replace, shards_of

FILES = ("dataset_info.json", "features.json", "metadata.json", "data_card.json")


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"splits": 3', b"[1]", b"\xff\xfe"])
@pytest.mark.parametrize("name", FILES)
def test_broken_description_is_one_finding(copy: Path, name: str, content: bytes | None) -> None:
    """Fails when a description that is gone or broken is no finding, or ends the examination."""
    (path,) = copy.rglob(name)
    replace(path, content)
    (finding,) = (diagnosis := examined(copy)).findings
    assert finding.kind == "description"
    assert name in finding.what
    assert diagnosis.videos == 14


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("dataset_info.json", '"name": "video_folder"', '"name": "video_holder"'),
        ("dataset_info.json", "array_record", "tfrecord"),
        ("features.json", "uint8", "uint9"),
        ("features.json", '"label"', '"lapel"'),
        ("metadata.json", '"a"', '"A"'),
        ("data_card.json", '"b"', '"B"'),
    ],
)
def test_description_that_was_edited_is_found(copy: Path, name: str, old: str, new: str) -> None:
    """Fails when a description may be valid and wrong (broken: no comparison, no opening)."""
    (path,) = copy.rglob(name)
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert [found.kind for found in examined(copy).findings] == ["description"]


def test_all_descriptions_gone_and_a_shard_too(copy: Path) -> None:
    """Fails when shards cannot be counted by their names."""
    for name in FILES:
        next(copy.rglob(name)).unlink()
    shard = shards_of(copy)[0]
    shard.unlink()
    kinds = [found.kind for found in examined(copy).findings]
    assert kinds == ["description"] * 4 + ["shard"]
    for other in shards_of(copy, "test"):
        other.unlink()
    assert found_in(copy)[-2:] == [("shard", "", None), ("shard", shard.name, None)]
