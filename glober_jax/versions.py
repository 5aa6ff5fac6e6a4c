"""What a number depends on besides the code."""

from importlib import metadata

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def versions() -> dict[str, str]:
    """Installed versions of the packages that decide the numbers."""
    return {package: metadata.version(package) for package in _PACKAGES}
