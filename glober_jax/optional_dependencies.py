"""Checks that optional packages are installed."""

import importlib.util

from glober_jax.errors import UserError


def require(module: str, package: str, purpose: str, requirements: str) -> None:
    """Raises `UserError` where `module` cannot be imported; does not import it."""
    if importlib.util.find_spec(module) is None:
        raise UserError(
            f"{purpose} needs the package {package}; install it with "
            f"python -m pip install -r {requirements}"
        )
