"""Waiting ends when every live worker has applied the revision, or when a later revision takes it back."""

from __future__ import annotations

from typing import Any

from forebay.stream.cli.models_rollout_wait import Progress, wait_progress
from forebay.stream.cli.models_rollout_workers import RolloutWorker, rollout_workers
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.rollouts import changes
from forebay.stream.rollouts.revision import Revision
from tests.cli.revisions import MODEL, configured, promoted, proposal, with_canary
from tests.cli.rollout_group import group_status, member, response, rollout


def workers(*reports: dict[str, Any]) -> tuple[RolloutWorker, ...]:
    names = [f"w{index}" for index in range(len(reports))]
    members = [member(name, ModelRef(MODEL, 3)) for name in names]
    return rollout_workers(
        group_status(members, {name: response(name, report) for name, report in zip(names, reports, strict=True)}),
        MODEL,
    )


def progress(revision: Revision, *reports: dict[str, Any], now: Revision | None = None) -> Progress:
    return wait_progress(revision, 4, workers(*reports), now or revision)


def test_every_live_worker_must_have_applied_it() -> None:
    behind = progress(promoted(), rollout(1, 1, 4), rollout(1, 0, 3, loading=4))
    assert (behind.applied, behind.decided, behind.num_applied, behind.num_workers) == (False, False, 1, 2)
    assert progress(promoted(), rollout(1, 1, 4), rollout(1, 1, 4)).applied


def test_without_a_live_worker_it_is_not_applied() -> None:
    assert not progress(promoted()).applied and not progress(promoted()).decided


def test_a_rollback_counts_only_where_the_target_serves_alone() -> None:
    back = changes.rollback(with_canary(), 3, proposal(2))
    assert progress(back, rollout(2, 2, 3)).applied
    canary = {"canaries": [{"version": 4, "weight": 5.0}]}
    (waiting,) = progress(back, rollout(2, 2, 3, **canary), rollout(2, 2, 3)).waiting
    assert (waiting.worker, waiting.reason) == ("w0", "it serves version 3 with canary 4 instead of version 3 alone")


def test_a_later_revision_that_takes_it_back_ends_the_wait() -> None:
    canary = with_canary()
    aborted = changes.abort(canary, proposal(2, automatic=True, author="w0", reason="it does not load"))
    taken_back = progress(canary, rollout(2, 2, 3), now=aborted)
    assert taken_back.decided and not taken_back.applied and taken_back.to_dict()["reason"] == "it does not load"
    assert not progress(promoted(), rollout(2, 1, 4), now=changes.rollback(promoted(), 3, proposal(2))).applied


def test_a_later_revision_that_keeps_the_version_does_not_end_the_wait() -> None:
    canary = with_canary()
    assert progress(canary, rollout(2, 2, 4), now=changes.promote(canary, 4, proposal(2))).applied
    back = changes.rollback(promoted(), 3, proposal(2))
    shadowed = changes.start_shadow(back, 5, 0.5, proposal(3))
    assert progress(back, rollout(3, 3, 3, shadows=[{"version": 5, "sample": 0.5}]), now=shadowed).applied


def test_the_configuration_is_applied_by_every_worker_that_reports_it() -> None:
    assert progress(configured(), rollout(0, 0, 3)).applied
