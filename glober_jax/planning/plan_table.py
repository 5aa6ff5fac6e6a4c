"""A plan as aligned text."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tqdm import tqdm

from glober_jax.planning.topology import GIB

_MOST_ROWS = 20


def head_table(plan: dict[str, Any]) -> str:
    """The slice and the mesh of a plan."""
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
            memory, speed = _size(trial["needed"]), trial["examples_per_second"]
            speed = "-" if speed is None else f"{speed:,.1f}"
            cells = row["fsdp"], row["remat"], f"{name}:", trial["batch"], memory, speed
            lines.append(form.format(*cells))
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
    """The needs of a stage, a column for each of its programs; the last line is the verdict."""
    networks = dict(sorted(stage["parameters"].items(), key=lambda item: -item[1]))
    lines = [
        f"{stage['stage']}: {_work(stage)}",
        _row("parameters", _parts(networks, tqdm.format_sizeof)),
        _row("held per chip, by the rules", _parts(stage["bytes_per_chip"], _size)),
        "",
        *_program_rows(stage["programs"]),
        *(f"  note: {note}" for note in stage["notes"]),
        f"{stage['stage']}: {_verdict(stage)}",
    ]
    return "\n".join(lines)


def cycles_table(stage: dict[str, Any]) -> str:
    """The compiler's cycles of a stage's last program, by kind of operation and by module."""
    cycles = stage["programs"][-1]["cycles"]
    if not (cycles and cycles["total"]):
        return f"{stage['stage']}: no cycles, they are estimated for TPUs, by programs that fit"
    lines = [
        f"{stage['stage']}: cycles on each chip, as the compiler estimates them, their share and,",
        "in modules, the share of the chip's peak that their matrix products reach",
        f"  {'all':<46}{cycles['total']:>16,}",
        f"  {'matrix products alone, at peak':<46}{cycles['floor']:>16,}{cycles['share']:>7.1%}",
    ]
    if cycles["without_estimate"]:
        lines.append(
            f"  note: {cycles['without_estimate']} instructions have no usable estimate: the sums "
            "are too small, and the time of the plan is not from them"
        )
    for group in ("kind", "network", "module"):
        lines += ["", f"  by {group}"]
        counts = list(cycles[group].items())
        counts, others = counts[:_MOST_ROWS], counts[_MOST_ROWS:]
        if rest := sum(count for _, count in others):
            counts.append(("the rest", rest))
        for name, count in counts:
            peak = cycles["of_peak"].get(group, {}).get(name)
            shown = f"{peak:>7.0%}" if peak else ""
            lines.append(f"    {name:<44}{count:>16,}{count / cycles['total']:>7.1%}{shown}")
    return "\n".join(lines)


def _work(stage: dict[str, Any]) -> str:
    if "videos" in stage:
        return f"{stage['videos']:,} videos of {stage['frames']} frames"
    cut = f", in {stage['micro_batches']} micro-batches" if stage["micro_batches"] > 1 else ""
    return (
        f"{stage['steps']:,} steps of {stage['batch_size']} clips, "
        f"{stage['batch_per_chip']:,.6g} per chip{cut}"
    )


def _program_rows(programs: list[dict[str, Any]]) -> Iterator[str]:
    def row(title: str, cells: Iterable[str]) -> str:
        return _row(title, "".join(f"{cell:>20}" for cell in cells))

    if "program" in programs[0]:
        yield row("program", (f"{p['program']}, {p['runs']} x" for p in programs))
        yield row("of use, of its operations", (f"{p['useful']:.1%}" for p in programs))
    else:
        ranges = ((p["first_step"], p["first_step"] + p["steps"]) for p in programs)
        yield row("steps", (f"{first:,}-{end:,}" for first, end in ranges))
    yield row("operations of one run", (tqdm.format_sizeof(p["flops"]) for p in programs))
    yield row("  per chip", (tqdm.format_sizeof(p["flops_per_chip"]) for p in programs))
    for key, title, show in (
        ("memory_per_chip", "memory per chip", _size),
        ("collectives", "collectives, bytes of whole arrays per chip and run", _moved),
        ("seconds", "seconds of one run", lambda value: f"{value:,.4g}"),
    ):
        names = dict.fromkeys(name for program in programs for name in program[key] or ())
        if names:
            yield f"  {title}"
        for name in names:
            values = [(program[key] or {}).get(name) for program in programs]
            title = name.replace("examples", "clips").replace("_", " ")
            yield row(f"  {title}", ("-" if value is None else show(value) for value in values))


def _verdict(stage: dict[str, Any]) -> str:
    if stage["fits"] is None:
        return "whether it fits is not known"
    # The largest program that does not fit, or of all; unknown is larger still.
    memories = [p["memory_per_chip"] for p in stage["programs"] if p["fits"] is stage["fits"]]
    needed = max(memory["needed"] or math.inf for memory in memories)
    amount = "more" if needed == math.inf else _size(needed)
    available = f"{_size(memories[0]['available'])} per chip"
    if not stage["fits"]:
        return f"DOES NOT FIT, it needs {amount} of {available}"
    fits = f"fits, {amount} of {available}"
    if stage["days"] is None:
        return fits
    return f"{fits}; about {stage['days']:.2g} days, {stage['chip_hours']:,.0f} chip-hours"


def _row(title: str, cells: str) -> str:
    return f"  {title:<34}{cells}"


def _parts(parts: dict[str, int], show: Callable[[int], str]) -> str:
    listed = ", ".join(f"{name} {show(size)}" for name, size in parts.items())
    return f"{show(sum(parts.values()))}: {listed}"


def _size(size: float | None) -> str:
    if size is None:
        return "-"
    return f"{size / GIB:,.2f} GiB" if size >= GIB / 10 else f"{size / 2**20:,.2f} MiB"


def _moved(found: dict[str, int]) -> str:
    return f"{_size(found['bytes'])} in {found['count']}" if found["count"] else "none"
