"""All commands: flags, help, paths that begin at home; `glober COMMAND` and `python -m`."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from glober_jax import cli
from glober_jax.__main__ import COMMANDS

_ROOT = Path(__file__).parents[1]
# As pip makes them: away from the repository, whose root is not where Python looks.
_SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from {module} import {function}
sys.path.remove({root!r})
{function}()
"""


def _run(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs Python in the repository."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=_ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """Variables for commands with an empty home folder."""
    return {"JAX_PLATFORMS": "cpu", "HOME": str(tmp_path)}


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
def test_help_is_no_failure(arguments: list[str], status: int, home: dict[str, str]) -> None:
    """Fails when a script takes help for a mistake, or a mistake for help."""
    name, *flags = arguments
    done = _run("-m", f"glober_jax.{name}", *flags, **home)
    assert done.returncode == status, done.stderr
    assert bool(done.stdout) == (status == 0) and bool(done.stderr) == (status == 1)


def test_every_path_may_begin_at_home(tmp_path: Path, home: dict[str, str]) -> None:
    """Fails when --output=~/x makes a folder called ~, or a config or an override names one."""
    sky = ["synthetic_sky", "--num_videos=1", "--num_test_videos=1", "--num_frames=1", "--size=8"]
    done = _run("-m", "glober_jax.prepare", *sky, "--output=~/sky", **home)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sky" / "data_card.json").exists() and not (_ROOT / "~").exists()

    (tmp_path / "config.py").write_text("from configs.quickstart import get_config\n")
    (tmp_path / "flags").write_text("--config=~/config.py\n--workdir\n~/run\n")
    flags = ["--flagfile=~/flags", "--config.data.dir=~/none"]
    done = _run("-m", "glober_jax.main", *flags, **home)
    assert done.returncode == 1 and f"{tmp_path / 'none'}" in done.stderr, done.stderr


def test_other_values_keep_their_tildes() -> None:
    """Fails when a value is changed that only has a ~ in it."""
    for word in ("--output=gs://bucket/~/x", "--prompt=~ 5 birds", "--output=a~", "--resume"):
        assert cli._flag_with_home(word) == word


def test_a_terminal_may_lack_signs() -> None:
    """Fails when a sign that ASCII does not have ends a command."""
    script = "from glober_jax import cli; cli.run(lambda argv: print('±1'))"
    done = _run("-c", script, PYTHONIOENCODING="ascii")
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


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    module, function = project["scripts"]["glober"].split(":")
    file = tmp_path_factory.mktemp("bin") / "glober"
    file.write_text(_SCRIPT.format(root=str(_ROOT), module=module, function=function))
    return file


@pytest.mark.parametrize(
    "arguments",
    [
        ["prepare", "--hlep"],
        ["prepare", "doctor", "--input=nowhere"],
        ["prepare", "doctor", "--help"],
        # A config that imports another one.
        ["main", "--config=configs/taichi_hd.py", "--workdir=x", "--config.sede=1"],
    ],
)
def test_is_the_command(script: Path, arguments: list[str]) -> None:
    """Fails when messages, help or the exit status differ."""
    by_name, by_package = _run(script, *arguments), _run("-m", "glober_jax", *arguments)
    module = _run("-m", f"glober_jax.{arguments[0]}", *arguments[1:])
    assert (module.stdout or module.stderr) and "configs" not in module.stderr
    for done in (by_name, by_package):
        assert (done.returncode, done.stdout, done.stderr) == (
            module.returncode,
            module.stdout,
            module.stderr,
        )


def test_help_names_every_command(script: Path) -> None:
    """Fails when a new command is missing, or has no line about it."""
    done = _run(script, "--help")
    assert done.returncode == 0 and not done.stderr
    for command in COMMANDS:
        assert any(
            line.split()[:1] == [command] and len(line) > 30 for line in done.stdout.split("\n")
        )
    files = (_ROOT / "glober_jax").glob("[a-z]*.py")
    assert set(COMMANDS) == {
        file.stem for file in files if "\n    cli.run(main" in file.read_text()
    }


def test_nearest_command_is_named(script: Path) -> None:
    """Fails when a misspelt command does not end in one sentence."""
    for given, nearest in (("smaple", "sample"), ("train", "main"), ("evaluation", "evaluate")):
        done = _run(script, given)
        assert done.returncode == 1 and not done.stdout
        assert done.stderr == f"error: glober has no command {given!r}; did you mean {nearest}?\n"
    assert "there are prepare, main" in _run(script, "xyz").stderr
    assert _run(script).returncode == 1


def test_help_is_quick() -> None:
    """Fails when the list of commands imports JAX, which takes seconds."""
    code = "import sys; from glober_jax.__main__ import main; print('jax' in sys.modules)"
    assert _run("-c", code).stdout == "False\n"
