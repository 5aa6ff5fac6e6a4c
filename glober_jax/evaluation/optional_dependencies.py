"""Checks that optional packages are installed."""

import importlib.util

from glober_jax.errors import UserError


def require(module: str, package: str, purpose: str) -> None:
    """Checks that `module` can be imported, without importing it.

    Raises:
      UserError: it cannot; the message says what needs it and how to install it.
    """
    if importlib.util.find_spec(module) is None:
        raise UserError(
            f"{purpose} needs the package {package}; install it with "
            "python -m pip install -r requirements-eval.txt"
        )
