"""Parts of every benchmark's report: the machine, and Markdown."""

import datetime
import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

_VERSIONS = ("jax", "jaxlib", "flax", "numpy")


def machine(packages: Iterable[str] = ()) -> dict[str, Any]:
    """`date`, `host`, and `versions` of JAX and of more packages, as JSON-able values."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "host": {
            "processor": found[1] if found else platform.machine(),
            "cores": os.cpu_count(),
            # Above the number of cores, other work slowed the benchmark down.
            "load": round(os.getloadavg()[0], 1),
            "platform": platform.platform(),
            "python": platform.python_version(),
        },
        "versions": {name: metadata.version(name) for name in (*_VERSIONS, *packages)},
    }


def section(report: Mapping[str, Any], table: str) -> str:
    """A report in Markdown: command, machine, figures."""
    host = report["host"]
    devices = ", ".join(sorted(set(report.get("devices", ()))))
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    return (
        f"`{report['command']}`\n\n"
        f"{report['date']}; {host['processor']}, {host['cores']} cores, load average "
        f"{host['load']} at the end"
        f"{f'; on {devices}' if devices else ''}; {versions}\n\n{table}"
    )


def markdown_table(rows: Sequence[Mapping[str, str]]) -> str:
    """A Markdown table with aligned columns; the first row's keys are the titles."""
    titles = list(rows[0])
    lines = [titles, *([row.get(title, "") for title in titles] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |"
        for line in lines
    )
