"""Alerts about rollouts that went back: which are due, once each, and what they say."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator

from forebay.schemas.definitions import definitions
from forebay.stream.aggregate.rollout_alerts import RULE, RolloutAlert, RolloutAlerts
from forebay.stream.rollouts.changes import Proposal, abort, promote, rollback
from forebay.stream.rollouts.revision import Revision
from forebay.stream.rollouts.revision_log import RevisionLog
from tests.rollouts.simulated_rollout import CANARY, STABLE, START_MS, canary_revision


def proposal(*, automatic: bool, evidence: dict[str, object] | None = None, author: str = "judge") -> Proposal:
    return Proposal(
        f"{author}-{automatic}",
        author,
        automatic=automatic,
        reason="too slow",
        created_ms=START_MS + 5,
        evidence=evidence or {},
    )


def log_of(*revisions: Revision) -> RevisionLog:
    log = RevisionLog()
    for offset, revision in enumerate(revisions):
        key, value = revision.encode()
        assert log.add(key, value, offset=offset, timestamp_ms=revision.created_ms) is not None
    return log


START = canary_revision()
WENT_BACK = abort(
    START, proposal(automatic=True, evidence={"check": "latency", "found_s": 0.02, "limit_s": 0.01, "rows": 7})
)
AGAIN = promote(WENT_BACK, CANARY, proposal(automatic=False, author="ada"))


def due(alerts: RolloutAlerts, log: RevisionLog) -> list[RolloutAlert]:
    found = alerts.due(log, now_ms=START_MS + 10, since_ms=START_MS)
    for alert in found:
        alerts.on_published(alert)
    return found


def test_each_alert_is_due_once_and_for_every_process_the_same() -> None:
    alerts = RolloutAlerts([])
    assert due(alerts, log_of(START)) == []
    (firing,) = due(alerts, log_of(START, WENT_BACK))
    assert due(alerts, log_of(START, WENT_BACK)) == []
    other = RolloutAlerts([b"no alert", None, firing.to_record()[1]])
    assert due(other, log_of(START, WENT_BACK)) == []
    for process in (alerts, other):
        (resolved,) = due(process, log_of(START, WENT_BACK, AGAIN))
        assert resolved.alert_id == firing.alert_id and resolved.status == "resolved"
        assert due(process, log_of(START, WENT_BACK, AGAIN)) == []


def test_what_was_never_published_is_not_resolved_and_what_is_old_raises_nothing() -> None:
    assert due(RolloutAlerts([]), log_of(START, WENT_BACK, AGAIN)) == []
    assert RolloutAlerts([]).due(log_of(START, WENT_BACK), now_ms=START_MS + 10**9, since_ms=START_MS + 10**6) == []


def test_what_a_person_does_raises_no_alert() -> None:
    by_hand = abort(START, proposal(automatic=False, author="ada"))
    back = rollback(promote(START, CANARY, proposal(automatic=False)), STABLE, proposal(automatic=False, author="ada"))
    assert due(RolloutAlerts([]), log_of(START, by_hand)) == []
    assert back.action.value == "rollback"


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        ({"check": "latency", "found_s": 0.02, "limit_s": 0.01, "rows": 7}, ("performance", "seconds", 0.02, 0.01, 7)),
        ({"check": "failures", "rate": 0.5, "limit": 0.01, "events": 9}, ("error", "rate", 0.5, 0.01, 9)),
        ({"check": "not_finite", "not_finite": 3, "limit": 0, "rows": 5}, ("quality", "count", 3, 0, 5)),
        ({"check": "cost", "cpu_s": 2.0, "limit_s": 1.0, "rows": 5}, ("resource", "seconds", 2.0, 1.0, 5)),
        ({"check": "non_finite", "non_finite": 3, "rows": 5}, ("quality", "count", 3, 0, 5)),
        ({"error": "the digest differs"}, ("error", "count", 1, 0, 0)),
        ({"check": ["odd"], "rate": "odd"}, ("error", "count", 1, 0, 0)),
    ],
    ids=["latency", "failures", "not finite", "cost", "a worker's", "load", "unknown"],
)
def test_alerts_satisfy_their_schema(evidence: dict[str, object], expected: tuple[object, ...]) -> None:
    went_back = abort(START, proposal(automatic=True, evidence=evidence, author="w-0"))
    validator = Draft202012Validator(definitions()["alert"])
    for alert in (RolloutAlert(went_back, None, START_MS), RolloutAlert(went_back, AGAIN, START_MS)):
        document = alert.to_dict()
        validator.validate(document)
        assert tuple(document[name] for name in ("category", "measure", "value", "threshold", "events")) == expected
        assert document["rule"] == RULE and document["message"].startswith(f"{RULE}: model m, revision 2 by w-0: ")
