"""The packages stand on floors: each imports lower ones only, so that data flows one way.

docs/architecture.md shows the same order.
"""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "glober_jax"

# From low to high; rooms of one floor do not import each other. What is not listed is a command.
FLOORS = (
    {"builtin", "errors", "interruption", "pixels", "progress", "versions"},
    {"cli", "alone", "media", "optional_dependencies", "packaged_weights", "values"}
    | {"diffusion", "parallel"},
    {"randomness", "models", "data", "notebook"},
    {"losses", "sampling", "evaluation"},
    {"training"},
    {"experiment"},
    {"pretrained", "interop", "planning"},
    {"benchmarking", "demonstration", "reporting"},
    {"run"},
    {"ablations"},
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def imported(path: Path) -> list[str]:
    """Dotted names of everything a file imports, in function bodies too."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def test_no_import_goes_up() -> None:
    """Fails when a lower room knows a higher one, or two rooms of one floor know each other."""
    upward = set()
    for path in PACKAGE.rglob("*.py"):
        file = path.relative_to(PACKAGE)
        room = file.parts[0].removesuffix(".py")
        ours = [name for name in imported(path) if name.startswith("glober_jax.")]
        others = {name.split(".")[1] for name in ours} - {room}
        floor = FLOOR_OF.get(room, len(FLOORS))
        upward |= {f"{file} -> {x}" for x in others if FLOOR_OF.get(x, len(FLOORS)) >= floor}
    assert not upward


def test_every_room_stands_somewhere() -> None:
    """Fails when a package is added without a floor, or a floor names a room that is gone."""
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages <= FLOOR_OF.keys()
    for room in FLOOR_OF:
        assert (PACKAGE / room).is_dir() or (PACKAGE / f"{room}.py").is_file(), room


@pytest.mark.parametrize("room", ["models", "diffusion"])
def test_networks_know_nothing_of_training(room: str) -> None:
    """Fails when they import an optimiser, checkpoints or flags."""
    for path in (PACKAGE / room).rglob("*.py"):
        libraries = {name.split(".")[0] for name in imported(path)}
        assert not libraries & {"optax", "orbax", "absl"}, path
