"""Reports of devices: what they become, what is refused, and how they are answered."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from forebay.stream.admin.edge_receiver import EdgeReceiver, edge_receiver
from forebay.stream.admin.edge_reports import BadReport, parse_report
from forebay.stream.admin.guard import build_guard
from forebay.stream.admin.server import AdminServer
from forebay.stream.aggregate.delta import parse_delta
from forebay.stream.config.sections import AdminSection, Settings
from forebay.stream.drift.wire import decode_drift
from forebay.stream.kafka.cluster.acls import Role, required_acls
from forebay.stream.kafka.producer.edge_commit import Records
from tests.core.build import ManualClock

NOW_MS = 1_700_000_100_000
MINUTE = NOW_MS - NOW_MS % 60_000


def make_column() -> dict[str, Any]:
    return {
        "name": "amount",
        "kind": "number",
        "counts": [2, 1],
        "missing": 0,
        "unseen": 0,
        "below": 0,
        "above": 0,
        "expected": [0.5, 0.5],
        "expected_missing": 0.0,
        "expected_unseen": 0.0,
        "expected_outside": 0.0,
        "sum": 3.0,
        "expected_mean": 1.0,
        "reference_rows": 100,
    }


def make_report(**more: Any) -> dict[str, Any]:
    return {
        "format": 1,
        "device": "device-1",
        "number": 7,
        "model": "churn",
        "version": 3,
        "minutes": {str(MINUTE): {"first": MINUTE + 5, "last": MINUTE + 9, "predicted": 3, "rejected": 2, "failed": 1}},
        "drift": {
            "window_start": MINUTE,
            "window_end": MINUTE + 300_000,
            "seen": 4,
            "rows": 3,
            "columns": [make_column()],
        },
        **more,
    }


def parse(document: Any) -> Any:
    return parse_report(json.dumps(document).encode(), now_ms=NOW_MS)


def test_a_report_becomes_the_records_of_a_worker() -> None:
    found = parse(make_report())
    assert (found.device, found.number) == ("device-1", 7)
    deltas = [parse_delta(value) for _, value in found.deltas]
    assert [(delta.cell.outcome, delta.count) for delta in deltas] == [("predicted", 3), ("rejected", 2), ("failed", 1)]
    assert {(delta.model, delta.version, delta.window_start) for delta in deltas} == {("churn", 3, MINUTE)}
    assert {(delta.first_seen, delta.last_seen) for delta in deltas} == {(MINUTE + 5, MINUTE + 9)}
    assert json.loads(found.deltas[0][1])["worker"] == "edge/device-1"
    drift = decode_drift(found.drift[1])
    assert (drift.worker, drift.number, drift.counts.rows, drift.counts.seen) == ("edge/device-1", 7, 3, 4)
    assert found.drift[0] == b"churn|3"


def test_a_window_without_rows_has_no_drift() -> None:
    empty = make_report()["drift"] | {"rows": 0, "columns": []}
    assert parse(make_report(drift=empty)).drift is None


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"format": 2}, "format", "the format is 2"),
        ({"device": "a b"}, "bad_report", "device"),
        ({"number": 0}, "bad_report", "number"),
        ({"version": "3"}, "bad_report", "version"),
        ({"secret": 1}, "bad_report", "unknown field"),
        ({"minutes": {}}, "bad_report", "there are 0 minutes"),
        ({"minutes": {"61": {"first": 61, "last": 61, "predicted": 1}}}, "bad_report", "not the start of a minute"),
        ({"minutes": {str(MINUTE): {"first": 1, "last": 2, "predicted": 1}}}, "bad_report", "not within it"),
        ({"minutes": {str(MINUTE): {"first": MINUTE, "last": MINUTE}}}, "bad_report", "all counts are 0"),
        ({"minutes": {str(MINUTE): {"first": MINUTE, "last": MINUTE, "predicted": -1}}}, "bad_report", ">= 0"),
        (
            {
                "minutes": {
                    str(MINUTE + 7_200_000): {"first": MINUTE + 7_200_000, "last": MINUTE + 7_200_000, "failed": 1}
                }
            },
            "clock",
            "more than an hour ahead",
        ),
        ({"drift": {"rows": 5}}, "bad_report", "not a record of drift"),
        (
            {"drift": make_report()["drift"] | {"columns": [make_column() | {"counts": [9, 9]}]}},
            "bad_report",
            "more rows than the record",
        ),
    ],
)
def test_what_cannot_be_counted_is_refused(change: dict[str, Any], kind: str, message: str) -> None:
    with pytest.raises(BadReport, match=message) as caught:
        parse(make_report(**change))
    assert caught.value.kind == kind


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b"{", b"[" * 100_000])
def test_other_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(BadReport, match="not a report of a device"):
        parse_report(body, now_ms=NOW_MS)


class Committed:
    """Commits in memory. fails: the error of the next commit."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.records: list[tuple[str, bytes, bytes]] = []
        self.fails: Exception | None = None

    async def commit(self, device: str, number: int, records: Records) -> bool:
        if self.fails is not None:
            raise self.fails
        if number <= self.numbers.get(device, 0):
            return False
        self.numbers[device] = number
        self.records += records
        return True


async def test_reports_are_answered() -> None:
    committed = Committed()
    clock = ManualClock()
    clock.now_ms = NOW_MS
    receiver = EdgeReceiver(committed, deltas="deltas", drift="drift", clock=clock)
    section = AdminSection.model_validate({"port": 0, "token": "secret-token"})
    routes, guard = [web.post("/edge/reports", receiver.serve)], build_guard(section, clock=clock)
    server = AdminServer(section, routes, guard, bootstrap_servers="localhost:9092")
    url = f"{await server.start()}/edge/reports"

    async def post(document: Any, token: str = "secret-token") -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"}
        async with aiohttp.ClientSession() as session, session.post(url, json=document, headers=headers) as response:
            return response.status, await response.json()

    try:
        assert await post(make_report()) == (200, {"device": "device-1", "number": 7, "duplicate": False})
        assert [topic for topic, _, _ in committed.records] == ["deltas"] * 3 + ["drift"]
        assert await post(make_report()) == (200, {"device": "device-1", "number": 7, "duplicate": True})
        assert len(committed.records) == 4
        status, answer = await post(make_report(number=-1))
        assert (status, answer["error"]["kind"]) == (400, "bad_report")
        assert (await post(make_report(), token="wrong"))[0] == 401
        committed.fails = ConnectionError("no brokers")
        status, answer = await post(make_report(number=8))
        assert (status, answer["error"]["kind"]) == (503, "not_committed")
    finally:
        await server.stop()


def test_nothing_is_built_unless_it_is_enabled() -> None:
    assert edge_receiver(Settings(), ManualClock()) is None
    enabled = Settings.model_validate(
        {"edge": {"reports": True}, "drift": {"enabled": True}, "topics": {"prefix": "p-"}}
    )
    assert isinstance(edge_receiver(enabled, ManualClock()), EdgeReceiver)


def test_a_worker_needs_two_more_permissions() -> None:
    plain = set(required_acls(Role.WORKER, Settings()))
    more = set(required_acls(Role.WORKER, Settings.model_validate({"edge": {"reports": True}}))) - plain
    assert sorted(map(str, more)) == [
        "READ on the group forebay-edge-*",
        "WRITE on the transactional-id forebay-edge-*",
    ]
