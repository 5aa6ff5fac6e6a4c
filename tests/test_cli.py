"""What all commands share: flags in, help, paths that begin at home."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from glober_jax import cli

_ROOT = Path(__file__).parents[1]


def _run(home: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"glober_jax.{name}", *arguments],
        cwd=_ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "HOME": str(home)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        *((["prepare", flag], 0) for flag in ("--help", "--helpshort", "--helpfull", "--helpxml")),
        (["prepare", "synthetic_sky", "--help"], 0),
        (["main", "-help", "--config=configs/quickstart.py"], 0),
        (["prepare", "--hlep"], 1),
        (["prepare", "synthetic_sky", "--outptu=x", "--help=false"], 1),
    ],
)
def test_help_is_no_failure(arguments: list[str], status: int, tmp_path: Path) -> None:
    """Fails when a script takes help for a mistake, or a mistake for help."""
    done = _run(tmp_path, *arguments)
    assert done.returncode == status, done.stderr
    assert bool(done.stdout) == (status == 0) and bool(done.stderr) == (status == 1)


def test_every_path_may_begin_at_home(tmp_path: Path) -> None:
    """Fails when --output=~/x makes a folder called ~, or a config or an override names one."""
    sky = ["synthetic_sky", "--num_videos=1", "--num_test_videos=1", "--num_frames=1", "--size=8"]
    done = _run(tmp_path, "prepare", *sky, "--output=~/sky")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sky" / "data_card.json").exists() and not (_ROOT / "~").exists()

    (tmp_path / "config.py").write_text("from configs.quickstart import get_config\n")
    (tmp_path / "flags").write_text("--config=~/config.py\n--workdir\n~/run\n")
    done = _run(tmp_path, "main", "--flagfile=~/flags", "--config.data.dir=~/none")
    assert done.returncode == 1 and f"{tmp_path / 'none'}" in done.stderr, done.stderr


def test_what_is_no_path_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when a value is changed that only has a ~ in it."""
    monkeypatch.setenv("HOME", "/home/of/mine")
    for word, wanted in (
        ("--output=~", "--output=/home/of/mine"),
        ("-output=~/a=~", "-output=/home/of/mine/a=~"),
        ("~/x", "/home/of/mine/x"),
        ("--output=gs://bucket/~/x", "--output=gs://bucket/~/x"),
        ("--prompt=~ 5 birds", "--prompt=~ 5 birds"),
        ("--output=a~", "--output=a~"),
        ("--resume", "--resume"),
    ):
        assert cli._flag_with_home(word) == wanted
    config = {"data": {"dir": "~/x", "workers": 2}, "codec": {"pretrained": "builtin:f4"}}
    assert cli._with_homes(config) == config | {"data": {"dir": "/home/of/mine/x", "workers": 2}}
    assert cli._flag_with_home("--input=~root/x") == "--input=" + os.path.expanduser("~root/x")


def test_a_terminal_may_lack_signs() -> None:
    """Fails when a sign that ASCII does not have ends a command."""
    script = "from glober_jax import cli; cli.run(lambda argv: print('±1'))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=_ROOT,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "\\xb11\n"), done.stderr


@pytest.mark.parametrize("first", ["", "import jax"])
def test_compiled_programs_are_kept_where_there_is_room(tmp_path: Path, first: str) -> None:
    """Fails when a command compiles anew what another did, writes where JAX's own variable forbids
    it, or ends where the cache folder cannot be made.
    """
    program = (
        f"{first}\nimport sys\nfrom glober_jax import cli\nsys.argv = ['x']\ndef main(_):\n"
        " import jax; print(jax.config.jax_compilation_cache_dir)\ncli.run(main)"
    )
    blocked = tmp_path / "file"
    blocked.touch()
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    for changes, expected in (
        (cache, str(tmp_path / "cache" / "glober_jax" / "compiled")),
        (cache | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "mine")}, str(tmp_path / "mine")),
        (cache | {"JAX_COMPILATION_CACHE_DIR": ""}, ""),
        ({"XDG_CACHE_HOME": str(blocked)}, "None"),
    ):
        environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=environment | changes,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.startswith(expected), done
