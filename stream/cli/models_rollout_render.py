"""The state of a rollout, its changes and its workers as text. Pure. Names and reasons are not trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from forebay.stream.cli.models_rollout_workers import RolloutWorker, Waiting
from forebay.stream.core.quantities import quantity
from forebay.stream.core.time_format import duration, local_date_time
from forebay.stream.rollouts.judge import Decision, Verdict
from forebay.stream.rollouts.revision import Revision
from forebay.stream.terminal.console import DIM, GREEN, RED, YELLOW, plain_table
from forebay.stream.terminal.record_format import printable, shortened

NOTHING: Final = "–"
MAX_NAME_CHARS: Final = 120
MAX_REASON_CHARS: Final = 500
_COLOURS: Final = {Decision.ROLL_BACK: RED, Decision.INCONCLUSIVE: YELLOW}


def percent(value: float) -> str:
    """Return a percentage: `5 %`, `0.25 %`."""
    return f"{value:.4g} %"


def author_of(revision: Revision) -> str:
    """Return who made a revision, and when."""
    name = line(revision.author)
    if not revision.created_ms:
        return name
    return f"{name}{' (automatic)' if revision.automatic else ''}, {local_date_time(revision.created_ms)}"


def line(text: str, max_chars: int = MAX_NAME_CHARS) -> str:
    """Return a text on one line, without control characters, shortened."""
    return shortened(printable(" ".join(text.split())), max_chars)


def status_text(
    revision: Revision, workers: Sequence[RolloutWorker], verdicts: Sequence[Verdict] | str = ()
) -> RenderableType:
    """Return the current revision, the verdicts on its canaries, and a table of the live workers.

    verdicts: a text says why they are not known.
    """
    return Group(revision_table(revision), *_verdicts(verdicts), Text(), workers_table(revision, workers))


def _verdicts(verdicts: Sequence[Verdict] | str) -> list[RenderableType]:
    if isinstance(verdicts, str):
        return [Text(), Text(f"the verdict on the canaries is not known: {line(verdicts, MAX_REASON_CHARS)}", YELLOW)]
    if not verdicts:
        return []
    table = plain_table("canary", "verdict", "reason")
    for verdict in verdicts:
        words = verdict.decision.value.replace("_", " ")
        table.add_row(
            Text(f"version {verdict.version}"),
            Text(words, _COLOURS.get(verdict.decision, GREEN)),
            Text(line(verdict.reason, MAX_REASON_CHARS)),
        )
    return [Text(), table]


def revision_table(revision: Revision) -> Table:
    """Return everything that a revision states, one property a line."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    change = "the configuration" if revision.number == 0 else f"{revision.action} by {author_of(revision)}"
    rows = {"model": revision.model, "revision": f"{revision.number}, {change}"}
    if revision.reason:
        rows["reason"] = line(revision.reason, MAX_REASON_CHARS)
    rows["stable"] = f"version {revision.stable}{_share_of_stable(revision)}"
    for name, value in _properties(revision).items():
        if name != "stable" and value != NOTHING:
            rows[name] = value
    for name, value in rows.items():
        table.add_row(Text(name, DIM), Text(value, YELLOW if name == "state" else ""))
    return table


def _share_of_stable(revision: Revision) -> str:
    taken = sum(canary.weight for canary in revision.canaries)
    return f", {percent(100 - taken)} of the keys" if taken else ""


def _properties(revision: Revision) -> dict[str, str]:
    """Return what a revision states, in words; the keys are the same for every revision."""
    canaries = ", ".join(f"version {canary.version} ({percent(canary.weight)})" for canary in revision.canaries)
    shadows = ", ".join(
        f"version {shadow.version} ({percent(shadow.sample * 100)} of the events)" for shadow in revision.shadows
    )
    routed = bool(revision.canaries)
    return {
        "stable": f"version {revision.stable}",
        "canaries": canaries or NOTHING,
        "shadows": shadows or NOTHING,
        "steps": _steps(revision),
        "state": "paused: no automatic steps" if revision.paused else NOTHING,
        "routed by": (f"the event field {line(revision.route_by)}" if revision.route_by else "the record key")
        if routed
        else NOTHING,
        "previous": NOTHING if revision.previous is None else f"version {revision.previous}",
        "rejected": ", ".join(f"version {version}" for version in revision.rejected) or NOTHING,
    }


def _steps(revision: Revision) -> str:
    steps = revision.steps
    if steps is None:
        return NOTHING
    weights = ", ".join(f"{weight:.4g}" for weight in steps.weights)
    every = duration(round(steps.every_s * 1000))
    return (
        f"{weights} % (step {revision.step + 1} of {len(steps.weights)}), each at least {every} and "
        f"{quantity(steps.min_events, 'prediction')}"
    )


def workers_table(revision: Revision, workers: Sequence[RolloutWorker]) -> RenderableType:
    """Return a table of the live workers: what each has applied, and what keeps it from the revision."""
    if not workers:
        return Text("no live worker serves the model", YELLOW)
    numbers = ("applied", "read", "stable")
    table = plain_table("worker", "applied", "read", "stable", "canaries", "resident", "state", right=numbers)
    for worker in workers:
        state = worker.state
        cells = (
            line(worker.name),
            NOTHING if state is None else str(state.applied),
            NOTHING if state is None else str(state.accepted),
            NOTHING if state is None else str(state.stable),
            NOTHING
            if state is None
            else ", ".join(f"{canary.version} ({percent(canary.weight)})" for canary in state.canaries) or NOTHING,
            NOTHING if state is None else ", ".join(map(str, state.resident)) or NOTHING,
        )
        table.add_row(*map(Text, cells), _worker_state(worker, revision.number))
    return table


def _worker_state(worker: RolloutWorker, number: int) -> Text:
    if worker.state is not None and worker.state.error is not None:
        return Text(line(worker.state.error, MAX_REASON_CHARS), RED)
    if worker.has_applied(number):
        return Text("applied", GREEN)
    return Text(line(worker.reason(number), MAX_REASON_CHARS), YELLOW)


def change_text(before: Revision, after: Revision, *, dry_run: bool) -> RenderableType:
    """Return a headline and a table with what changes."""
    head = Text.assemble(
        (line(after.model), "bold"),
        f": revision {before.number} → {after.number}, {after.action} by {line(after.author)}",
        (" (dry run: nothing was changed)", YELLOW) if dry_run else "",
    )
    table = plain_table("", "before", "after")
    old, new = _properties(before), _properties(after)
    for name in old:
        if old[name] == new[name] == NOTHING:
            continue
        table.add_row(Text(name, DIM), Text(old[name]), Text(new[name], "" if old[name] == new[name] else "bold"))
    return Group(head, table)


def loads_text(workers: Sequence[RolloutWorker], after: Revision) -> RenderableType:
    """Return one line per live worker with the versions that it would load."""
    if not workers:
        return Text("no live worker serves the model: a worker loads the versions when it starts", YELLOW)
    lines = []
    for worker in workers:
        versions = worker.to_load(after.versions())
        if versions is None:
            what = f"not known: {line(worker.reason(after.number), MAX_REASON_CHARS)}"
        elif not versions:
            what = "loads nothing"
        else:
            what = f"loads version{'s' if len(versions) > 1 else ''} {', '.join(map(str, versions))}"
        lines.append(Text.assemble("  ", (line(worker.name), "bold"), f"  {what}"))
    return Group(Text("workers:"), *lines)


def waiting_text(waiting: Sequence[Waiting]) -> RenderableType:
    """Return one line per worker that has not applied a revision."""
    return Group(
        *(
            Text.assemble(("✗", RED), " ", (line(worker.worker), "bold"), f"  {line(worker.reason, MAX_REASON_CHARS)}")
            for worker in waiting
        )
    )


def progress_line(num_applied: int, num_workers: int, number: int) -> str:
    """Return how many workers have applied a revision."""
    verb = "has" if num_applied == 1 else "have"
    return f"{num_applied} of {quantity(num_workers, 'live worker')} {verb} applied revision {number}"
