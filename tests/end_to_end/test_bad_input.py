"""Mistakes at the keyboard: one sentence on stderr, an exit status, and nothing broken."""

import shutil
from pathlib import Path
from typing import Any

import pytest

Flags = list[str]


def _refuse(commands: Any, name: str, *flags: str, says: list[str], devices: int = 1) -> None:
    """Runs a command that has to fail; each of `says` must be in its message."""
    message = commands.refuse(name, *flags, devices=devices)
    for part in says:
        assert part in message, message


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        pytest.param(
            ["--config.model.unet.chanels=3"], ["chanels", "channels"], id="misspelt-override"
        ),
        pytest.param(["--workdri=x"], ["workdri", "workdir"], id="misspelt-flag"),
        pytest.param(["--config=no/such/config.py"], ["no/such/config.py"], id="no-config-file"),
        pytest.param(
            ["--config.mesh.data=3"], ["needs 3 devices", "1 are present"], id="impossible-mesh"
        ),
        pytest.param(
            ["--config.data.dir=no/data"],
            ["no/data", "python -m glober_jax.prepare"],
            id="no-data-set",
        ),
        pytest.param(
            ["--config.frame_size=64"], ["16x16", "64x64", "--size=64"], id="other-frame-size"
        ),
        pytest.param(
            ["--config.clip.num_frames=64"],
            ["longest of", "set config.clip.num_frames=12"],
            id="clips-longer-than-videos",
        ),
        pytest.param(
            ["--stage=generator"], ["no codec checkpoint", "--stage=codec"], id="stage-too-early"
        ),
    ],
)
def test_training_refuses(commands: Any, tmp_path: Path, flags: Flags, says: list[str]) -> None:
    """Fails when the mistake is accepted, or answered with a stack trace or a riddle."""
    _refuse(commands, "main", *commands.train_flags(tmp_path), *flags, says=says)
    # Nothing is left that would confuse the corrected command.
    assert not list(tmp_path.glob("*/[0-9]*"))


def test_misspelt_key_in_a_config_file(commands: Any, tmp_path: Path) -> None:
    """Fails when a key that nothing reads is silently ignored."""
    file = tmp_path / "config.py"
    text = "from configs import quickstart\n\n\ndef get_config():\n"
    text += "    config = quickstart.get_config()\n    config.model.unet.chanels = 3\n"
    file.write_text(text + "    return config\n")
    flags = commands.train_flags(tmp_path / "run", file)
    _refuse(commands, "main", *flags, says=["config.model.unet.chanels", "model.unet.channels?"])
    assert not (tmp_path / "run").exists()


def test_batch_that_does_not_divide_the_mesh(commands: Any, tmp_path: Path) -> None:
    """Fails when a batch of 3 over 2 devices gets as far as the compiler."""
    flags = [*commands.train_flags(tmp_path / "run"), "--config.autoencoder.batch_size=3"]
    says = ["config.autoencoder.batch_size=3", "multiple", "2"]
    _refuse(commands, "main", *flags, says=says, devices=2)
    assert not (tmp_path / "run").exists()


def test_workdir_of_another_architecture(commands: Any, finished: Path, tmp_path: Path) -> None:
    """Fails when a mistaken --workdir damages the run that is in it."""
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    before = _content(workdir)
    flags = [*commands.train_flags(workdir), "--config.model.unet.channels=16"]
    _refuse(commands, "main", *flags, says=["another architecture", "model.unet.channels is 8"])
    assert _content(workdir) == before


def test_truncated_shard(commands: Any, tmp_path: Path) -> None:
    """Fails when damaged data is trained on, or reported as something else."""
    data = tmp_path / "data"
    shutil.copytree(commands.data, data)
    (shard,) = data.rglob("*-train.array_record*")
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2])
    flags = [*commands.train_flags(tmp_path / "run"), f"--config.data.dir={data}"]
    _refuse(commands, "main", *flags, says=[shard.name, "damaged", "glober_jax.prepare"])


def test_training_into_a_place_that_cannot_be(commands: Any, tmp_path: Path) -> None:
    """Fails when an unwritable --workdir ends in a stack trace."""
    (tmp_path / "file").touch()
    flags = commands.train_flags(tmp_path / "file" / "run")
    _refuse(commands, "main", *flags, says=["cannot write", "file/run", "--workdir"])


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--output={folder}/file/out", "--num_videos=1"], ["cannot write", "file/out"]),
        (["--workdir={folder}"], ["nothing was trained there", "python -m glober_jax.main"]),
        (["--class_label=sunsets"], ["no class sunsets", "clear", "sunset"]),
    ],
    ids=["unwritable-output", "empty-workdir", "unknown-class"],
)
def test_sampling_refuses(
    commands: Any, finished: Path, tmp_path: Path, flags: Flags, says: list[str]
) -> None:
    """Fails when the mistake ends in a stack trace, or the message lacks the remedy."""
    (tmp_path / "file").touch()
    given = [flag.format(folder=tmp_path) for flag in flags]
    _refuse(commands, "sample", f"--workdir={finished}", *given, says=says)


def _content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
