"""Rollouts as text."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console, RenderableType

from forebay.stream.cli.models_rollout_documents import revision_document
from forebay.stream.cli.models_rollout_render import change_text, loads_text, progress_line, status_text
from forebay.stream.cli.models_rollout_workers import RolloutWorker, rollout_workers
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.rollouts import changes
from tests.cli.revisions import MODEL, STEPS, configured, promoted, proposal, with_canary
from tests.cli.rollout_group import group_status, member, response, rollout


def text(output: RenderableType) -> str:
    out = io.StringIO()
    Console(file=out, width=1000, no_color=True).print(output)
    return out.getvalue()


def rows(output: RenderableType) -> dict[str, list[str]]:
    """Return the cells of each line after the first, which are separated by two spaces."""
    lines = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text(output).splitlines()]
    return {cells[0]: cells[1:] for cells in lines if cells}


def worker(name: str, **more: object) -> RolloutWorker:
    report = rollout(1, 1, 3) | more
    status = group_status([member(name, ModelRef(MODEL, 3))], {name: response(name, report)})
    return rollout_workers(status, MODEL)[0]


def test_the_status_shows_shares_steps_and_who_decided_it() -> None:
    shown = rows(status_text(with_canary(steps=STEPS, reason="better recall"), [worker("w1", resident=[3, 4])]))
    assert shown["revision"][0].startswith("1, canary by ana@desk, 2026-12-01 ")
    assert shown["reason"] == ["better recall"] and shown["stable"] == ["version 3, 95 % of the keys"]
    assert shown["canaries"] == ["version 4 (5 %)"] and shown["routed by"] == ["the record key"]
    assert shown["steps"] == ["5, 25, 100 % (step 1 of 3), each at least 10 minutes and 1,000 predictions"]
    assert shown["w1"] == ["1", "1", "3", "–", "3, 4", "applied"]
    assert "shadows" not in shown and "rejected" not in shown


def test_the_status_names_what_keeps_workers_from_the_revision() -> None:
    failed, behind = worker("w1", error="golden row 0 differs"), worker("w2", applied=0, loading=4)
    shown = rows(status_text(promoted(), [failed, behind, RolloutWorker("w3", None, 3, "no answer within 2 s")]))
    assert [shown[name][-1] for name in ("w1", "w2", "w3")] == [
        "golden row 0 differs",
        "it is loading version 4",
        "no answer within 2 s",
    ]
    assert "no live worker serves the model" in text(status_text(promoted(), []))


def test_a_paused_rollout_and_rejected_versions_are_shown() -> None:
    paused = changes.pause(with_canary(steps=STEPS), proposal(2))
    assert rows(status_text(paused, []))["state"] == ["paused: no automatic steps"]
    back = changes.rollback(with_canary(), 3, proposal(2))
    assert rows(status_text(back, []))["rejected"] == ["version 4"]


def test_the_configuration_is_shown_as_revision_0() -> None:
    shown = rows(status_text(configured(), []))
    assert shown["revision"] == ["0, the configuration"] and shown["stable"] == ["version 3"]


def test_a_change_shows_before_and_after() -> None:
    shown = rows(change_text(configured(), with_canary(), dry_run=True))
    assert shown["stable"] == ["version 3", "version 3"] and shown["canaries"] == ["–", "version 4 (5 %)"]
    assert "revision 0 → 1, canary by ana@desk (dry run: nothing was changed)" in text(
        change_text(configured(), with_canary(), dry_run=True)
    )


def test_the_versions_that_each_worker_would_load_are_shown() -> None:
    workers = [worker("w1", resident=[3]), worker("w2", resident=[3, 4]), RolloutWorker("w3", None, 3, "no answer")]
    shown = rows(loads_text(workers, with_canary()))
    assert (shown["w1"], shown["w2"], shown["w3"]) == (["loads version 4"], ["loads nothing"], ["not known: no answer"])


@pytest.mark.parametrize(
    ("applied", "workers", "line"),
    [
        (1, 1, "1 of 1 live worker has applied revision 9"),
        (0, 2, "0 of 2 live workers have applied revision 9"),
    ],
)
def test_progress_is_a_sentence(applied: int, workers: int, line: str) -> None:
    assert progress_line(applied, workers, 9) == line


@pytest.mark.parametrize("name", ["\x1b[2J", "[red]x[/red]", "a\nb"])
def test_names_and_reasons_control_neither_the_terminal_nor_the_table(name: str) -> None:
    revision = with_canary(author=name, reason=name)
    shown = text(status_text(revision, [worker("w1", error=name)])) + text(
        change_text(configured(), revision, dry_run=False)
    )
    assert all(char.isprintable() or char == "\n" for char in shown)
    if name.isprintable():
        assert shown.count(name) == 4


def test_the_document_has_the_weights_and_can_be_written_as_json() -> None:
    document = json.loads(json.dumps(revision_document(with_canary(steps=STEPS))))
    assert document["canaries"] == [{"version": 4, "slots": [[0, 500]], "weight": 5.0}]
    assert document["created"] == "2026-12-01T12:01:00.000Z" and document["digests"]["4"] == f"{4:064x}"
    assert revision_document(configured())["created"] is None
