"""All commands by one name: `glober sample --flags` is `python -m glober_jax.sample --flags`."""

import ast
import difflib
import os
import runpy
import sys
from pathlib import Path

from glober_jax import interruption

COMMANDS = (
    "prepare", "main", "sample", "demo", "evaluate", "convert", "plan", "benchmark", "ablate",
)  # fmt: skip


def main() -> None:
    """Runs the command of the first argument like `python -m`."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in COMMANDS:
        # Ctrl-C also ends the imports, which take seconds.
        interruption.watch()
        # As `python -m` does: configs import each other from the repository's root.
        sys.path.insert(0, os.getcwd())
        del sys.argv[1]
        runpy.run_module(f"glober_jax.{name}", run_name="__main__", alter_sys=True)
    elif name in ("", "-h", "-help", "--help", "help"):
        listed = (f"  {command:10} {_summary(command)}" for command in COMMANDS)
        usage = "usage: glober COMMAND [--flags]; glober COMMAND --help explains its flags"
        print(usage, "", *listed, sep="\n")
        sys.exit(0 if name else 1)
    else:
        near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
        sys.exit(f"error: glober has no command {name!r}; {hint}")


def _summary(command: str) -> str:
    """The first line of a command's docstring, without importing it."""
    source = Path(__file__).with_name(f"{command}.py").read_text("utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


if __name__ == "__main__":
    main()
