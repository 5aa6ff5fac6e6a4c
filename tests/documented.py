"""Checks the commands in documentation without running them or importing JAX."""

import functools
import itertools
import re
import runpy
import shlex
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import ml_collections

from glober_jax import prepare
from glober_jax.__main__ import COMMANDS

ROOT = Path(__file__).parents[1]
_FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.M | re.S)
_QUICKSTART = "configs/quickstart.py"
# Flags of other programs.
_FOREIGN = {"help", "version", "shm-size"}


def fenced(text: str, language: str) -> list[str]:
    """The code blocks of a Markdown text that are in a language."""
    return [
        textwrap.dedent(code) for _, marked, code in _FENCED.findall(text) if marked == language
    ]


def unfenced(text: str) -> str:
    """The text without its code blocks."""
    return _FENCED.sub("", text)


def inline(text: str) -> list[str]:
    """The `code` of a text, outside of blocks."""
    return [code.replace("\\|", "|") for code in re.findall(r"`([^`]+)`", unfenced(text))]


def block_problems(block: str) -> Iterator[str]:
    """The mistakes in the commands of a shell block, each a sentence."""
    variables: dict[str, str] = {}
    for line in block.replace("\\\n", " ").splitlines():
        line = re.sub(r"\$(\w+)", lambda found: variables.get(found[1], found[0]), line)
        words = shlex.split(line, comments=True)
        if len(words) == 1 and (given := re.fullmatch(r"(\w+)=(.*)", words[0])):
            variables[given[1]] = given[2]
        for command in _split(words, ("&&", ";", "|")):
            yield from command_problems(command)


def inline_problems(code: str) -> Iterator[str]:
    """The mistakes in `code` in a sentence or a table, if it is a command, a flag or a key."""
    words = code.replace("[", "").replace("]", "").replace("\n", " ").split()
    if not words:
        return
    if words[0] in COMMANDS and len(words) > 1:
        words = ["glober", *words]
    if not words[0].startswith("--"):
        key = re.fullmatch(r"(config(?:\.\w+)+)(=.*)?", code)
        yield from _key_anywhere_problems(key[1]) if key else command_problems(words)
        return
    for flag in re.findall(r"(?:^|\s)--([\w.-]*\w)", " ".join(words)):
        if flag.startswith("config."):
            yield from _key_anywhere_problems(flag)
        elif flag not in _every_flag():
            yield f"no command has --{flag}"


def command_problems(words: Sequence[str]) -> Iterator[str]:
    """The mistakes in one command, if it is one of ours or a script in launch/."""
    words = [word for word in words if not re.fullmatch(r"\$\w+|…|\.\.\.|and", word)]
    while words and re.fullmatch(r"[A-Z_]+=.*|bash", words[0]):
        del words[0]
    if not words:
        return
    module = words[2] if words[1:2] == ["-m"] and len(words) > 2 else ""
    if module.startswith("glober_jax."):
        yield from _ours(module.removeprefix("glober_jax."), words[3:])
    elif words[0] == "glober" and len(words) > 1:
        yield from _ours(words[1], words[2:])
    elif re.fullmatch(r"launch/\w+\.sh", words[0]):
        yield from _script(words[0], words[1:])
    for flag, file in itertools.pairwise(words):
        if flag == "-r" and not (ROOT / file).is_file():
            yield f"there is no {file}"


def _ours(name: str, arguments: Sequence[str]) -> Iterator[str]:
    if name not in COMMANDS:
        if not name.startswith("-") and name.isidentifier() and name.islower():
            yield f"there is no command {name}"
        return
    named = [word for word in arguments if not word.startswith("-")]
    known = _sub_commands(name)
    chosen = named[0].split("|") if named and known else []
    if len(named) > bool(known) or not set(chosen) <= known:
        yield f"{name} takes no {' '.join(named)}"
        return
    flags = set(_flags(name))
    if name == "prepare" and chosen:
        flags = {flag for command in chosen for flag in _prepare_flags(command)}
    yield from _flag_problems(name, arguments, flags | {"help"})


def _flag_problems(name: str, arguments: Sequence[str], flags: set[str]) -> Iterator[str]:
    given = dict(word[2:].partition("=")[::2] for word in arguments if word.startswith("--"))
    file = given.get("config", "")
    for flag in given:
        if flag.startswith("config.") and "config" in flags:
            problem = _key_problem(flag, file if file.startswith("configs/") else _QUICKSTART)
            yield from [problem] if problem else []
        elif flag not in flags:
            yield f"{name} has no flag --{flag}"
    if file.startswith("configs/"):
        try:
            _config(file)
        except (OSError, ValueError) as error:
            yield str(error)


def _script(script: str, words: Sequence[str]) -> Iterator[str]:
    file = ROOT / script
    if not file.is_file():
        yield f"there is no {script}"
        return
    text = file.read_text()
    if "pytest" in text:
        yield from _flag_problems(script, words, _pytest_flags())
        tests = [word for word in words if word.startswith("tests/")]
        yield from (f"there is no {test}" for test in tests if not (ROOT / test).exists())
        return
    before, *after = _split(words, ("--",))
    yield from _flag_problems(script, before, _script_flags(script))
    actions = [word for word in before if not word.startswith("-")]
    known = set(re.findall(r"^  ([a-z]+)\)", text, re.M)) if "case $action" in text else set()
    if known and words and (len(actions) != 1 or actions[0] not in known):
        yield f"{script} takes no {' '.join(actions)}"
    command = "ablate" if "ablations" in script else "main"
    for rest in after:
        config = [word for word in before if word.startswith("--config=")]
        yield from _ours(command, [*config, *rest])


@functools.cache
def _script_flags(script: str) -> set[str]:
    text = (ROOT / script).read_text()
    texts = [(ROOT / "launch/tpu.sh").read_text()] if "source launch/tpu.sh" in text else []
    lists = re.findall(r"^flags='(.*)'", "\n".join([*texts, text]), re.M)
    compared = re.findall(r"== --([\w-]+)", text)
    return {"dry-run", *lists[-1].split()} if lists else set(compared)


@functools.cache
def _flags(name: str) -> frozenset[str]:
    """The flags of a command, read from its source."""
    if name == "prepare":
        return frozenset().union(*map(_prepare_flags, prepare.COMMANDS))
    text = (ROOT / f"glober_jax/{name}.py").read_text()
    names = re.findall(r'DEFINE_\w+\(\s*"(\w+)"', text)
    if 'f"guidance_{name}"' in text:
        names += ["guidance_condition", "guidance_video", "guidance_domain"]
    return frozenset(names)


@functools.cache
def _prepare_flags(command: str) -> frozenset[str]:
    return frozenset([*prepare._options_of(command), *prepare.COMMANDS[command].shared])


@functools.cache
def _sub_commands(name: str) -> set[str]:
    if name == "prepare":
        return set(prepare.COMMANDS)
    text = (ROOT / f"glober_jax/{name}.py").read_text()
    tables = re.findall(r"^_(?:IMPORTS|EXPORTS|MEASURE) = {(.*?)}", text, re.M | re.S)
    return set(re.findall(r'"(\w+)":', " ".join(tables)))


@functools.cache
def _config(file: str) -> ml_collections.ConfigDict:
    path, _, argument = file.partition(":")
    get_config = runpy.run_path(str(ROOT / path))["get_config"]
    return get_config(argument) if argument else get_config()


def _key_problem(key: str, file: str) -> str | None:
    value = _config(file)
    for part in key.split(".")[1:]:
        if part not in value:
            return f"{file} has no {key}"
        value = value[part]
    return None


def _key_anywhere_problems(key: str) -> Iterator[str]:
    files = sorted(f"configs/{path.name}" for path in (ROOT / "configs").glob("*.py"))
    if key != "config.json" and all(_key_problem(key, file) for file in files):
        yield f"no config has {key}"


@functools.cache
def _every_flag() -> set[str]:
    scripts = [f"launch/{path.name}" for path in (ROOT / "launch").glob("*.sh")]
    return _FOREIGN.union(_pytest_flags(), *map(_flags, COMMANDS), *map(_script_flags, scripts))


def _pytest_flags() -> set[str]:
    tests = (ROOT / "tests/conftest.py").read_text()
    return set(re.findall(r'addoption\(\s*"--(\w+)"', tests))


def _split(words: Sequence[str], marks: Sequence[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in words:
        if word in marks:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts
