"""README.md and docs/: links lead somewhere, commands exist, messages are those of the code."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.documented import ROOT, block_problems, fenced, inline, inline_problems, unfenced

_TOP = ("README.md", "CHANGELOG.md", "BENCHMARKS.md")
_PAGES = [*(ROOT / name for name in _TOP), *sorted((ROOT / "docs").glob("*.md"))]
_LONGEST_README = 250
pages = pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)


@pages
def test_links_lead_somewhere(page: Path) -> None:
    """Fails when a page, a picture or a heading was renamed, and a link to it was not."""
    text = unfenced(page.read_text("utf-8"))
    broken = [
        link
        for link in re.findall(r"\]\(([^)\s]+)\)", text)
        if not re.match(r"\w+:", link) and not _exists(page, link)
    ]
    assert not broken


def _exists(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    return target.exists() and (not anchor or anchor in _anchors(target.read_text("utf-8")))


def _anchors(text: str) -> set[str]:
    """The anchors of a page's headings, by GitHub's rule."""
    seen: Counter[str] = Counter()
    anchors = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *$", unfenced(text), re.M):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        anchors.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return anchors


@pages
def test_commands_exist(page: Path) -> None:
    """Fails when a command, a sub-command, a flag or a config key is misspelt or was renamed."""
    text = page.read_text("utf-8")
    blocks = [problem for block in fenced(text, "bash") for problem in block_problems(block)]
    assert not blocks
    assert not [(code, problem) for code in inline(text) for problem in inline_problems(code)]


@pytest.mark.parametrize("config", sorted((ROOT / "configs").glob("*.py")), ids=lambda p: p.name)
def test_commands_of_configs_exist(config: Path) -> None:
    """Fails when the head of a config shows a command that does not exist."""
    head = ast.get_docstring(ast.parse(config.read_text("utf-8"))) or ""
    blocks = re.findall(r"(?:^    .*\n)+", f"{head}\n", re.M)
    assert blocks and not [problem for block in blocks for problem in block_problems(block)]


@pytest.mark.parametrize(
    ("block", "sentence"),
    [
        ("python -m glober_jax.smaple --workdir=x", "no command smaple"),
        ("cd x && .venv/bin/python -m glober_jax.sample --wrokdir=x", "no flag --wrokdir"),
        ("glober sample --guidance_conditon=1", "no flag --guidance_conditon"),
        ("glober prepare video_floder --input=x", "takes no video_floder"),
        ("glober prepare doctor --size=3", "no flag --size"),
        ("glober main --config=configs/quikstart.py", "quikstart"),
        ("glober main --config=configs/ucf101.py:uncond", "uncond"),
        ('k="--config.data.dri=x"\nglober main \\\n  $k', "no config.data.dri"),
        ("launch/tpu_pod.sh crate --name=x", "takes no crate"),
        ("launch/tpu_pod.sh create --nam=x", "no flag --nam"),
        ("launch/train.sh --accelerator=gpu -- --config.sede=1", "no config.sede"),
        ("launch/test.sh tests/nothing", "no tests/nothing"),
        ("pip install -r requirements-evil.txt", "no requirements-evil.txt"),
    ],
)
def test_mistakes_are_found(block: str, sentence: str) -> None:
    """Fails when a mistake in a command would go unnoticed."""
    assert sentence in " ".join(block_problems(block))


@pytest.mark.parametrize("code", ["--stpes=3", "sample --stpes=3", "config.dta.dir", "glober smp"])
def test_mistakes_in_sentences_are_found(code: str) -> None:
    """Fails when a mistake between backticks would go unnoticed."""
    assert list(inline_problems(code))


def test_examples_in_python_are_python() -> None:
    """Fails when an example cannot be compiled."""
    blocks = [block for page in _PAGES for block in fenced(page.read_text("utf-8"), "python")]
    for block in blocks:
        compile(block, "example", "exec")
    assert blocks


def test_messages_are_those_of_the_code() -> None:
    """Fails when a message changed, and the page that people search for it did not."""
    said = "\n".join(
        [
            *(path.read_text("utf-8") for path in (ROOT / "launch").glob("*.sh")),
            *(_texts(path) for path in (ROOT / "glober_jax").rglob("*.py")),
        ]
    )
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    messages = re.findall(r"^\| `([^`]+)` \|", page, re.M)
    parts = [part.strip(" ,:;().=") for message in messages for part in message.split("…")]
    assert messages and not [part for part in parts if part not in said]


def _texts(path: Path) -> str:
    """All texts of a module, one a line; what is put into them left out."""
    texts = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = [getattr(part, "value", "") for part in node.values]
            texts.append("".join(part if isinstance(part, str) else "\0" for part in parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
    return "\n".join(texts)


def test_files_that_the_code_names_exist() -> None:
    """Fails when a page was renamed and a message or a comment still sends people to it."""
    named = [
        name
        for folder in ("glober_jax", "configs")
        for path in (ROOT / folder).rglob("*.py")
        for name in re.findall(r"\bdocs/\w+\.\w+", path.read_text("utf-8"))
    ]
    assert named and not [name for name in named if not (ROOT / name).exists()]


def test_readme_is_short() -> None:
    """Fails when README takes in what belongs into docs/."""
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= _LONGEST_README
