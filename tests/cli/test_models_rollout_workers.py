"""Which workers have applied a revision, and why the others have not."""

from __future__ import annotations

import pytest

from forebay.stream.admin.group_status import StatusResponse
from forebay.stream.cli.models_rollout_workers import (
    RolloutWorker,
    announced_version,
    rollout_workers,
    waiting_workers,
)
from forebay.stream.core.model_ref import ModelRef
from tests.cli.rollout_group import MODEL, group_status, member, response, rollout

FRAUD = ModelRef(MODEL, 3)


def only(**more: object) -> RolloutWorker:
    """Return a worker that reports this, and revision 11 of 12 unless it says otherwise."""
    fields = {"accepted": 12, "applied": 11, "stable": 3} | more
    status = group_status([member("w1", FRAUD)], {"w1": response("w1", rollout(**fields))})  # type: ignore[arg-type]
    (worker,) = rollout_workers(status, MODEL)
    return worker


def test_workers_of_other_models_do_not_count_and_members_without_metadata_do() -> None:
    members = [member("w1", FRAUD), member("w2", ModelRef("churn", 1)), member("w3")]
    workers = rollout_workers(group_status(members, {"w1": response("w1", rollout(2, 2, 4))}), MODEL)
    assert [worker.name for worker in workers] == ["w1", "w3"]
    assert [(each.worker, each.reason) for each in waiting_workers(workers, 2)] == [
        ("w3", "the group is being rebalanced")
    ]


@pytest.mark.parametrize(
    ("reported", "reason"),
    [
        ({"error": "version 4: golden row 0 differs"}, "version 4: golden row 0 differs"),
        ({"loading": 4}, "it is loading version 4"),
        ({"accepted": 11}, "it has read the revisions up to 11 only"),
        ({}, "it serves revision 11 until its next poll"),
    ],
)
def test_the_reason_names_what_the_worker_does(reported: dict[str, object], reason: str) -> None:
    assert [each.reason for each in waiting_workers([only(**reported)], 12)] == [reason]


def test_a_worker_with_a_later_revision_has_applied_this_one() -> None:
    assert waiting_workers([only(accepted=13, applied=13)], 12) == ()


def test_a_worker_that_cannot_be_asked_is_waited_for_with_the_reason() -> None:
    silent = member("w1", FRAUD), member("w2", FRAUD), member("w3", FRAUD, url=None)
    answers = {"w1": StatusResponse(None, "no answer within 2 s"), "w2": response("w2")}
    reasons = {
        each.worker: each.reason for each in waiting_workers(rollout_workers(group_status(silent, answers), MODEL), 1)
    }
    assert reasons["w1"] == "no answer within 2 s" and reasons["w3"] == "its admin API is off"
    assert "rollouts.enabled is false" in reasons["w2"]


def test_serving_a_version_means_without_canaries() -> None:
    assert only(stable=3).serves(3) and not only(stable=3).serves(4)
    assert not only(stable=3, canaries=[{"version": 4, "weight": 5.0}]).serves(3)


def test_resident_versions_need_not_be_loaded() -> None:
    assert only(resident=[3, 5]).to_load(frozenset((3, 4, 6))) == (4, 6)
    assert RolloutWorker("w1", None).to_load(frozenset((3,))) is None


def test_the_announced_version_counts_only_if_all_agree() -> None:
    def announced(*versions: int | None) -> int | None:
        return announced_version([RolloutWorker("w", None, version) for version in versions])

    assert (announced(3, 3), announced(3, None), announced(3, 4), announced()) == (3, 3, None, None)
