"""A plan as people read it."""

from collections.abc import Callable, Iterator
from typing import Any

from glober_jax.planning.chips import GIB

_WIDTH = 34


def table(plan: dict[str, Any]) -> str:
    """The whole plan, stage by stage."""
    lines = list(_head(plan))
    for stage in plan["stages"]:
        lines += ["", *_stage(stage)]
    if any(stage["days"] is not None for stage in plan["stages"]):
        lines += ["", "Estimated, not measured. It is assumed that"]
        lines += [f"  - {assumption}" for assumption in plan["assumptions"]]
    return "\n".join(lines)


def _head(plan: dict[str, Any]) -> Iterator[str]:
    topology, mesh = plan["topology"], plan["mesh"]
    slices = f"{topology['slices']} slices of " if topology["slices"] > 1 else ""
    axes = " x ".join(f"{axis}={size}" for axis, size in mesh.items())
    yield f"{slices}{topology['name']}: {topology['chips']} x {topology['chip']}, mesh {axes}"
    if plan["reason"]:
        yield plan["reason"]


def _stage(stage: dict[str, Any]) -> Iterator[str]:
    held, programs = stage["bytes_per_chip"], stage["programs"]
    yield (
        f"{stage['stage']}: {stage['steps']:,} steps of {stage['batch_size']} clips, "
        f"{stage['batch_per_chip']:g} per chip"
    )
    networks = sorted(stage["parameters"].items(), key=lambda item: -item[1])
    count = sum(stage["parameters"].values())
    listed = ", ".join(f"{name} {_millions(size)}" for name, size in networks)
    yield _row("trained parameters", f"{_millions(count)}: {listed}")
    parts = ", ".join(f"{name} {_gib(size)}" for name, size in held.items())
    yield _row("held per chip, by the rules", f"{_gib(sum(held.values()))}: {parts}")
    yield ""

    def row(title: str, cell: Callable[[dict[str, Any]], str]) -> str:
        return _row(title, "".join(f"{cell(program):>20}" for program in programs))

    yield row("steps", lambda p: f"{p['first_step']:,}-{p['first_step'] + p['steps']:,}")
    yield row("operations of a step", lambda p: f"{p['flops'] / 1e12:,.2f} T")
    yield row("  per chip", lambda p: f"{p['flops_per_chip'] / 1e12:,.3f} T")
    if any(program["memory_per_chip"] for program in programs):
        yield from _compiled(programs, row)
    yield from (f"  note: {note}" for note in stage["notes"])
    yield verdict(stage)


def _compiled(programs: list[dict[str, Any]], row: Callable[..., str]) -> Iterator[str]:
    def memory(part: str) -> Callable[[dict[str, Any]], str]:
        return lambda p: _gib((p["memory_per_chip"] or {}).get(part))

    yield "  memory per chip"
    for part in ("arguments", "outputs", "temporaries", "code", "total", "available"):
        yield row(f"  {part}", memory(part))
    yield "  collectives, bytes of whole arrays per chip and step"
    for kind in next((p["collectives"] for p in programs if p["collectives"]), {}):
        yield row(f"  {kind}", lambda p, kind=kind: _moved(p["collectives"], kind))
    if any(program["seconds"] for program in programs):
        yield "  seconds of a step"
        for part in ("compute", "hbm", "interconnect", "network", "step"):
            yield row(f"  {part}", lambda p, part=part: _number(p["seconds"], part, ".4f"))
        yield row(
            "clips per second", lambda p: _number(p["seconds"], "examples_per_second", ",.1f")
        )


def verdict(stage: dict[str, Any]) -> str:
    """One sentence: whether a stage fits, and how long it takes."""
    name = stage["stage"]
    memories = [p["memory_per_chip"] for p in stage["programs"] if p["memory_per_chip"]]
    if stage["fits"] is None:
        return f"{name}: whether it fits is not known"
    if not stage["fits"]:
        worst = next(p["memory_per_chip"] for p in stage["programs"] if p["fits"] is False)
        needed = _gib(worst["total"]) if worst["total"] else "more"
        return f"{name}: DOES NOT FIT, it needs {needed} of {_gib(worst['available'])} per chip"
    largest = max(memories, key=lambda memory: memory["total"])
    fits = f"{name}: fits, {_gib(largest['total'])} of {_gib(largest['available'])} per chip"
    if stage["days"] is None:
        return fits
    return f"{fits}; about {stage['days']:.2g} days, {stage['chip_hours']:,.0f} chip-hours"


def _row(title: str, cells: str) -> str:
    return f"  {title:<{_WIDTH}}{cells}"


def _millions(count: int) -> str:
    return f"{count / 1e6:,.2f} M"


def _gib(size: float | None) -> str:
    return "-" if size is None else f"{size / GIB:,.3f} GiB"


def _moved(collectives: dict[str, Any] | None, kind: str) -> str:
    if collectives is None:
        return "-"
    found = collectives[kind]
    return f"{found['bytes'] / GIB:,.3f} GiB in {found['count']}"


def _number(values: dict[str, float] | None, name: str, form: str) -> str:
    return "-" if values is None else format(values[name], form)
