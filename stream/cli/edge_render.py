"""The tables of `forebay edge`. Texts come from files, so control characters are escaped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.table import Table
from rich.text import Text

from forebay.models.edge.device_profile import DeviceProfile
from forebay.models.edge.plan import Excess, PlannedVersion, shared_metric
from forebay.stream.terminal.console import DIM, GREEN, RED, plain_table, visible

_UNKNOWN: Final = "unknown"


def size_text(num_bytes: float) -> str:
    """Return a size in decimal units: `256.0 KB`."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:,.1f} {unit}"
    return f"{num_bytes:,.0f} B"


def device_table(profile: DeviceProfile) -> Table:
    """Return a table with one line per property."""
    processor, memory, power = profile.processor, profile.memory, profile.power
    caches = [
        f"{name} {num_bytes // 1024} KiB"
        for name, num_bytes in (("L1d", memory.l1d_bytes), ("L2", memory.l2_bytes), ("L3", memory.l3_bytes))
        if num_bytes
    ]
    properties = {
        "device": profile.name,
        "processor": f"{processor.name} ({processor.architecture})",
        "cores": f"{processor.cores}" + (f", {processor.mhz:,} MHz" if processor.mhz else ""),
        "instruction sets": ", ".join(processor.instruction_sets) or _UNKNOWN,
        "memory": f"{size_text(memory.total_bytes)}, available {size_text(memory.available_bytes)}",
        "caches": ", ".join(caches) or _UNKNOWN,
        "accelerators": ", ".join(profile.accelerators) or "not found",
        "power source": power.source,
        "energy counter": power.energy_counter or "not readable",
        "power of a core": f"{power.active_watts:g} W" if power.active_watts else _UNKNOWN,
        "limits": ", ".join(_limits(profile)) or "not stated",
    }
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in properties.items():
        table.add_row(Text(name, DIM), Text(visible(value)))
    costs = profile.unit_costs
    if costs is not None:
        table.add_row(
            Text("one prediction", DIM), Text(f"{costs.call_us:.1f} µs, and {costs.node_us:.2f} µs for each node")
        )
        table.add_row(
            Text("a multiplication", DIM),
            Text(
                f"dense {costs.dense_ns:.3g} ns, int8 {costs.dense_int8_ns:.3g} ns; convolution {costs.convolution_ns:.3g} ns, "
                f"int8 {costs.convolution_int8_ns:.3g} ns; recurrent {costs.recurrent_ns:.3g} ns"
            ),
        )
        table.add_row(Text("a node of a tree", DIM), Text(f"{costs.tree_visit_ns:.3g} ns"))
        table.add_row(
            Text("process", DIM),
            Text(
                f"{size_text(costs.process_bytes)}, and {costs.bytes_per_weight_byte:.2f} bytes for each byte of weights"
            ),
        )
    return table


def _limits(profile: DeviceProfile) -> Iterator[str]:
    limits = profile.limits
    if limits.model_bytes:
        yield f"model {size_text(limits.model_bytes)}"
    if limits.memory_bytes:
        yield f"process {size_text(limits.memory_bytes)}"
    if limits.p99_ms:
        yield f"p99 {limits.p99_ms:g} ms"
    if limits.power_watts:
        yield f"power {limits.power_watts:g} W"


def plan_table(versions: Sequence[PlannedVersion]) -> Table:
    """Return a table with one line per version."""
    metric = shared_metric(versions)
    numbers = ("size", "memory", "p50", "p99", "power", *([metric] if metric else []))
    table = plain_table("version", "from", *numbers, "verdict", right=numbers)
    for version in versions:
        expected = version.prediction
        cells = [visible(version.reference), "" if version.parent is None else f"@{version.parent}"]
        if expected is None or version.model_bytes is None:
            cells += [""] * 5
        else:
            cells += [size_text(version.model_bytes), size_text(expected.memory_bytes)]
            cells += [f"{expected.p50_ms:.3f} ms", f"{expected.p99_ms:.3f} ms", f"{version.power_watts or 0.0:.3g} W"]
        cells += [f"{version.metrics[metric]:.4f}"] if metric else []
        verdict = (
            Text("fits", GREEN) if version.fits else Text("cannot be exported" if version.refused else "too large", RED)
        )
        if version.excesses:
            verdict = Text("above: " + ", ".join(excess.what for excess in version.excesses), RED)
        table.add_row(*map(Text, cells), verdict)
    return table


def problems(versions: Sequence[PlannedVersion]) -> Iterator[str]:
    """Yield a line for each limit that a version does not keep, and for each version that cannot be exported."""
    for version in versions:
        if version.refused:
            yield visible(version.refused)
        for excess in version.excesses:
            yield visible(f"{version.reference}: {_excess_text(excess)}")


def _excess_text(excess: Excess) -> str:
    shown = {"size": size_text, "memory": size_text, "p99": "{:.3g} ms".format, "power": "{:.3g} W".format}[excess.what]
    return f"{excess.what} {shown(excess.value)} is {excess.factor:.2f} times the limit of {shown(excess.limit)}"
