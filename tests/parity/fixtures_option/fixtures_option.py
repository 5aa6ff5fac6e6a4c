"""Passes `pytest --fixtures=DIR` on as `--recorded=DIR`, the suite's own option.

pytest has a flag --fixtures that takes no value, and refuses one before it loads any plugin or
conftest.py. So the argument is renamed when Python starts; everything else stays as it is.
"""

import sys

if any("pytest" in argument for argument in sys.orig_argv[:3]):
    sys.argv[:] = [
        "--recorded=" + argument.removeprefix("--fixtures=")
        if argument.startswith("--fixtures=")
        else argument
        for argument in sys.argv
    ]
