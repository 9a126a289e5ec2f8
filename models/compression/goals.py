"""The limits that a compressed model must keep, which of them it misses, and by how much. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from forebay.models.compression.measured import Measured

_KB: Final = 1_000
_MB: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Goals:
    """Limits; None for no limit.

    max_loss: of accuracy, or the relative increase of the error of a regression, on held-out rows.
    certain: whether the upper end of the loss's 95 % interval counts, instead of the loss itself.
    max_slice_loss: of any slice with enough rows.
    min_speed_up: the lower end of its 95 % interval, for calls with `batch_size` rows.
    max_size: of the backend's files, in bytes. max_memory: the growth of a process that loads and runs the model, in bytes.
    max_latency_ms: 99th percentile of a call with `batch_size` rows.
    max_energy: millijoules for 1,000 rows, in calls with `batch_size` rows.
    """

    max_loss: float | None = 0.005
    max_slice_loss: float | None = None
    min_speed_up: float | None = None
    max_size: int | None = None
    max_memory: int | None = None
    max_latency_ms: float | None = None
    max_energy: float | None = None
    batch_size: int = 512
    certain: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """A limit and what was measured.

    excess: by how much the limit is missed, in its own unit; 0 or less if it is kept.
    """

    option: str
    limit: float
    found: float
    excess: float
    text: str

    @property
    def is_kept(self) -> bool:
        return self.excess <= 0

    @property
    def slack(self) -> float:
        """How much is left, as a part of the limit: the smallest is the binding one."""
        return -self.excess / max(abs(self.limit), 1e-12)

    def to_dict(self) -> dict[str, object]:
        """Return the check as JSON values."""
        return {"option": self.option, "limit": self.limit, "found": self.found, "excess": self.excess}


def check_goals(goals: Goals, measured: Measured) -> tuple[Check, ...]:
    """Return a check for each limit that is set, in the order of `Goals`."""
    return tuple(_checks(goals, measured))


def binding(checks: tuple[Check, ...]) -> Check | None:
    """Return the limit that is missed by most, or that has the least left; None if there are no limits."""
    return min(checks, key=lambda check: check.slack, default=None)


def gain(goals: Goals, measured: Measured, original: Measured) -> tuple[str, ...]:
    """Return in what a model measures better than the original: "faster", "smaller", "less memory". Empty if in nothing."""
    found = []
    if measured.at(goals.batch_size).verdict == "faster":
        found.append("faster")
    if measured.num_bytes < original.num_bytes:
        found.append("smaller")
    if measured.memory is not None and original.memory is not None and measured.memory.model < original.memory.model:
        found.append("less memory")
    return tuple(found)


def _checks(goals: Goals, measured: Measured) -> Iterator[Check]:
    timing, rows = measured.at(goals.batch_size), f"at {goals.batch_size} rows"
    if goals.max_loss is not None:
        loss = measured.loss.loss.high if goals.certain else measured.loss.loss.value
        name = "upper end of the loss" if goals.certain else "loss"
        yield _most("--max-loss", goals.max_loss, loss, f"{name} {loss:.4f}, allowed {goals.max_loss:g}", digits=".4f")
    worst = measured.loss.worst_slice
    if goals.max_slice_loss is not None and worst is not None:
        text = f"loss {worst.loss:.4f} in {worst.name}, allowed {goals.max_slice_loss:g}"
        yield _most("--max-slice-loss", goals.max_slice_loss, worst.loss, text, digits=".4f")
    if goals.min_speed_up is not None:
        low = timing.speed_up.low
        text = f"speed-up {timing.speed_up.value:.2f} {rows}, at least {low:.2f}, wanted {goals.min_speed_up:g}"
        excess = goals.min_speed_up - low
        yield Check("--min-speed-up", goals.min_speed_up, low, excess, text=_with_excess(text, excess, ".2f"))
    if goals.max_size is not None:
        size = measured.num_bytes
        text = f"size {size / _KB:,.1f} KB, allowed {goals.max_size / _KB:,.1f} KB"
        yield _most("--max-size", goals.max_size, size, text, digits=",.0f", unit=" bytes")
    if goals.max_memory is not None and measured.memory is not None:
        memory = measured.memory.model
        text = f"memory {memory / _MB:,.1f} MB, allowed {goals.max_memory / _MB:,.1f} MB"
        yield _most("--max-memory", goals.max_memory, memory, text, digits=",.0f", unit=" bytes")
    if goals.max_latency_ms is not None:
        p99 = timing.other_p99_ms
        text = f"latency {p99:.3f} ms {rows}, allowed {goals.max_latency_ms:g} ms"
        yield _most("--max-latency-ms", goals.max_latency_ms, p99, text, digits=".3f", unit=" ms")
    if goals.max_energy is not None:
        energy = timing.other_millijoules * 1_000 / timing.batch_size
        text = f"energy {energy:.3f} mJ for 1,000 rows, allowed {goals.max_energy:g} mJ"
        yield _most("--max-energy", goals.max_energy, energy, text, digits=".3f", unit=" mJ")


def _most(option: str, limit: float, found: float, text: str, *, digits: str, unit: str = "") -> Check:
    excess = found - limit
    return Check(option, limit, found, excess, text=_with_excess(text, excess, digits, unit))


def _with_excess(text: str, excess: float, digits: str, unit: str = "") -> str:
    return text if excess <= 0 else f"{text}: missed by {format(excess, digits)}{unit}"
