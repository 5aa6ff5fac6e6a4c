"""A plan as aligned text."""

from collections.abc import Callable, Iterator
from typing import Any

from glober_jax.planning.chips import GIB
from glober_jax.planning.collectives import KINDS

Program = dict[str, Any]


def head_table(plan: dict[str, Any]) -> str:
    """What the plan is for."""
    topology = plan["topology"]
    slices = f"{topology['slices']} slices of " if topology["slices"] > 1 else ""
    axes = " x ".join(f"{axis}={size}" for axis, size in plan["mesh"].items())
    head = f"{slices}{topology['name']}: {topology['chips']} x {topology['chip']}, mesh {axes}"
    return f"{head}\n{plan['reason']}" if plan["reason"] else head


def assumptions_table(plan: dict[str, Any]) -> str:
    """The assumptions of the estimate."""
    lines = [f"  - {assumption}" for assumption in plan["assumptions"]]
    return "\n".join(["Times are estimated, not measured. It is assumed that", *lines])


def sweep_table(found: dict[str, Any]) -> str:
    """Largest and fastest batches of a sweep, the best case as flags."""
    form = "  {:>5} {:>7} {:>12} {:>6} {:>11} {:>9}"
    lines = [f"{found['stage']}: clips per device, the last program"]
    lines.append(form.format("fsdp", "remat", "", "clips", "memory", "clips/s"))
    for row in found["rows"]:
        if row["largest"] is None:
            lines.append(f"  {row['fsdp']:>5} {row['remat']:>7} nothing fits")
            continue
        for name in ("largest", "fastest"):
            trial = row[name]
            memory, speed = _size(trial["needed"]), _format(trial["examples_per_second"], ",.1f")
            lines.append(
                form.format(row["fsdp"], row["remat"], f"{name}:", trial["batch"], memory, speed)
            )
            lines += [f"        note: {note}" for note in trial["notes"]]
    best = found["best"]
    if best is None:
        return "\n".join([*lines, "no case fits"])
    flags = [f"--config.mesh.fsdp={best['fsdp']}"]
    flags += [f"--config.model.{name}.remat={best['remat']}" for name in found["networks"]]
    if best["micro_batches"] is None:
        lines.append("best, with a batch_size that divides into such micro-batches:")
    else:
        lines.append("best, and the config's batch_size fits:")
        flags.append(f"--config.{found['stage']}.micro_batches={best['micro_batches']}")
    return "\n".join([*lines, *(f"  {flag}" for flag in flags)])


def stage_table(stage: dict[str, Any]) -> str:
    """What a stage needs, a column for each of its programs; the last line is the verdict."""
    return "\n".join([*_head(stage), "", *_program_rows(stage["programs"]), *_tail(stage)])


def _head(stage: dict[str, Any]) -> Iterator[str]:
    cut = f", in {stage['micro_batches']} micro-batches" if stage["micro_batches"] > 1 else ""
    yield (
        f"{stage['stage']}: {stage['steps']:,} steps of {stage['batch_size']} clips, "
        f"{stage['batch_per_chip']:,.6g} per chip{cut}"
    )
    networks = sorted(stage["parameters"].items(), key=lambda item: -item[1])
    for title, parts, show in (
        ("trained parameters", dict(networks), _short),
        ("held per chip, by the rules", stage["bytes_per_chip"], _size),
    ):
        listed = ", ".join(f"{name} {show(size)}" for name, size in parts.items())
        yield f"  {title:<34}{show(sum(parts.values()))}: {listed}"


def _program_rows(programs: list[Program]) -> Iterator[str]:
    def row(title: str, cell: Callable[[Program], str]) -> str:
        return f"  {title:<34}" + "".join(f"{cell(program):>20}" for program in programs)

    def rows(key: str, names: tuple[str, ...], show: Callable[[Any], str]) -> Iterator[str]:
        for name in names:
            yield row(f"  {name}", lambda p, name=name: show((p[key] or {}).get(name)))

    yield row("steps", lambda p: f"{p['first_step']:,}-{p['first_step'] + p['steps']:,}")
    yield row("operations of a step", lambda p: _short(p["flops"]))
    yield row("  per chip", lambda p: _short(p["flops_per_chip"]))
    compiled = any(program["collectives"] for program in programs)
    if any(program["memory_per_chip"] for program in programs):
        yield "  memory per chip"
        parts = ("arguments", "outputs", "temporaries", "code", "total", "unused")
        shown = (*(parts if compiled else ()), "needed", "available")
        yield from rows("memory_per_chip", shown, _size)
    if compiled:
        yield "  collectives, bytes of whole arrays per chip and step"
        yield from rows("collectives", KINDS, _moved)
    if any(program["seconds"] for program in programs):
        yield "  seconds of a step"
        shown = ("compute", "hbm", "interconnect", "network", "step")
        yield from rows("seconds", shown, lambda value: _format(value, ".4f"))
        yield from rows("seconds", ("examples_per_second",), lambda value: _format(value, ",.1f"))


def _tail(stage: dict[str, Any]) -> Iterator[str]:
    yield from (f"  note: {note}" for note in stage["notes"])
    name = stage["stage"]
    if stage["fits"] is None:
        yield f"{name}: whether it fits is not known"
        return
    # Of the programs that do not fit, or of all, the largest; unknown is larger still.
    memories = [p["memory_per_chip"] for p in stage["programs"] if p["fits"] is stage["fits"]]
    needed = max(memory["needed"] or float("inf") for memory in memories)
    available = _size(memories[0]["available"])
    if not stage["fits"]:
        amount = "more" if needed == float("inf") else _size(needed)
        yield f"{name}: DOES NOT FIT, it needs {amount} of {available} per chip"
        return
    verdict = f"{name}: fits, {_size(needed)} of {available} per chip"
    if stage["days"] is not None:
        verdict += f"; about {stage['days']:.2g} days, {stage['chip_hours']:,.0f} chip-hours"
    yield verdict


def _short(count: float) -> str:
    for unit in ("", " k", " M", " G"):
        if count < 1000:
            return f"{count:.4g}{unit}"
        count /= 1000
    return f"{count:,.2f} T"


def _size(size: float | None) -> str:
    if size is None:
        return "-"
    return f"{size / GIB:,.2f} GiB" if size >= GIB / 10 else f"{size / 2**20:,.2f} MiB"


def _moved(found: dict[str, int] | None) -> str:
    if found is None:
        return "-"
    return f"{_size(found['bytes'])} in {found['count']}" if found["count"] else "none"


def _format(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
