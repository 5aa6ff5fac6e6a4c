"""Versions of the packages that results depend on."""

from importlib import metadata

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def versions() -> dict[str, str]:
    """Installed versions by package."""
    return {package: metadata.version(package) for package in _PACKAGES}
