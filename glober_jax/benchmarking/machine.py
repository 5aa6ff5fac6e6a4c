"""What a measurement was made on."""

import os
import platform
from collections.abc import Iterable
from importlib import metadata
from typing import Any


def machine(packages: Iterable[str]) -> dict[str, Any]:
    """`host`, and `versions` of the packages."""
    return {
        "host": {
            "cores": os.cpu_count(),
            "platform": platform.platform(),
            "python": platform.python_version(),
        },
        "versions": {package: metadata.version(package) for package in packages},
    }
