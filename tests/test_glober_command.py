"""`glober COMMAND` is `python -m glober_jax.COMMAND`."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

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


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    module, function = project["scripts"]["glober"].split(":")
    file = tmp_path_factory.mktemp("bin") / "glober"
    file.write_text(_SCRIPT.format(root=str(_ROOT), module=module, function=function))
    return file


def _run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=_ROOT, capture_output=True, text=True)


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
