"""The status of a group as text for a terminal. All names come from the members of the group and are not trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from forebay.stream.admin.group_rollouts import group_rollouts
from forebay.stream.admin.group_status import GroupStatus, WorkerRow, format_partitions
from forebay.stream.admin.worker_status import CurrentRates, ModelState
from forebay.stream.terminal.console import DIM, GREEN, RED, YELLOW, plain_table
from forebay.stream.terminal.record_format import printable, shortened

_STYLES: Final = {"ready": GREEN, "paused": YELLOW, "degraded": YELLOW, "not ready": YELLOW, "unknown": DIM}
_NUMBERS: Final = ("lag", "events/s", "p50 ms", "p99 ms")
_MAX_NAME_CHARS: Final = 120
_MAX_REMARK_CHARS: Final = 500


def render_status(status: GroupStatus) -> RenderableType:
    """Return a line about the group, a table of its workers, and remarks about problems."""
    group = status.group
    num_workers = len(status.workers)
    head = Text.assemble(
        ("group ", DIM),
        printable(group.group_id),
        "  ",
        (printable(group.state.lower()) or "unknown", GREEN if group.state == "Stable" else YELLOW),
        f"  {num_workers} worker{'' if num_workers == 1 else 's'}",
        f"  lag {_number(status.lag)}",
    )
    parts: list[RenderableType] = [head]
    if status.workers:
        table = plain_table("worker", "model", "owns", *_NUMBERS, "address", "health", right=_NUMBERS)
        for row in status.workers:
            table.add_row(*_cells(row))
            for state in _models_of(row):
                table.add_row(*_model_cells(state))
        parts += [Text(), table]
    rollouts = group_rollouts([row.response.status for row in status.workers if row.response.status is not None])
    if rollouts:
        lines = [shortened(printable(rollout.summary), _MAX_REMARK_CHARS) for rollout in rollouts]
        parts += [Text(), *(Text.assemble(("rollout ", DIM), line) for line in lines)]
    remarks = [
        shortened(printable(f"{row.name}: {row.health}: {row.reason}"), _MAX_REMARK_CHARS)
        for row in status.workers
        if row.reason
    ]
    remarks += [
        shortened(printable(f"{row.name}: {row.missed_objective}"), _MAX_REMARK_CHARS)
        for row in status.workers
        if row.missed_objective
    ]
    if status.without_owner:
        remarks.append(f"no worker reads {printable(format_partitions(status.without_owner))}")
    remarks += [
        shortened(printable(f"{worker}: {rollout.newest.model}: {reason}"), _MAX_REMARK_CHARS)
        for rollout in rollouts
        for worker, reason in rollout.lagging
    ]
    remarks += [shortened(printable(warning), _MAX_REMARK_CHARS) for warning in status.warnings]
    if not status.workers:
        remarks.append("no worker is a member of this group")
    elif not status.healthy:
        remarks.append("no worker is healthy")
    parts += [Text(remark, style=YELLOW if status.healthy else RED) for remark in remarks]
    return Group(*parts)


def _cells(row: WorkerRow) -> list[Text]:
    rates = CurrentRates() if row.response.status is None else row.response.status.now
    texts = [
        row.name,
        _models(row),
        format_partitions(row.member.partitions) or "nothing",
        _number(row.lag),
        _number(rates.events_per_s),
        _number(rates.latency_p50_ms),
        _number(rates.latency_p99_ms),
        (row.metadata.url if row.metadata else None) or row.member.host.lstrip("/"),
    ]
    return [
        # As Text, never as markup: a name may contain brackets.
        *(Text(shortened(printable(text), _MAX_NAME_CHARS)) for text in texts),
        Text(row.health, style=_STYLES.get(row.health, RED)),
    ]


def _models(row: WorkerRow) -> str:
    if row.metadata is None:
        return ""
    if len(row.metadata.models) > 1:
        return f"{len(row.metadata.models)} models"
    return f"{row.served[0].name} " + " + ".join(f"v{model.version}" for model in row.served)


def _models_of(row: WorkerRow) -> Sequence[ModelState]:
    """Return the models of a worker that are shown in rows of their own: if it serves several."""
    if row.metadata is None or len(row.metadata.models) == 1:
        return ()
    if row.response.status is not None and row.response.status.models:
        status = row.response.status
        # With rollouts, versions that get no events any more are in memory for a while.
        return [state for state in status.models if not status.rollouts or (state.name, state.version) in row.served]
    return [ModelState(model.name, model.version) for model in row.metadata.models]


def _model_cells(state: ModelState) -> list[Text]:
    texts = [
        "",
        f"{state.name} v{state.version}",
        "",
        "",
        _number(state.now.events_per_s),
        _number(state.now.latency_p50_ms),
        _number(state.now.latency_p99_ms),
        "",
    ]
    blocked = "" if state.blocked is None else f"blocked: {state.blocked.replace('_', ' ')}"
    return [
        *(Text(shortened(printable(text), _MAX_NAME_CHARS)) for text in texts),
        Text(shortened(printable(blocked), _MAX_NAME_CHARS), style=YELLOW),
    ]


def _number(value: float | int | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if isinstance(value, int) or value >= 100 else f"{value:.1f}"
