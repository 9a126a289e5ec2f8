"""The counts of a device: windows, numbers that stay, bounded files, and what is kept when there is no connection."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from forebay.models.edge.device import report
from forebay.models.edge.device.report import Counter, main, reports, send

NAN = float("nan")
RECORD = {"missing": 0, "unseen": 0, "below": 0, "above": 0, "sum": 0.0}
BINS = {
    "window_s": 300,
    "columns": [
        {
            "index": 1,
            "edges": [0.0, 1.0],
            "low": -5.0,
            "high": 5.0,
            "bins_of_codes": [],
            "num_bins": 3,
            "record": RECORD | {"name": "b", "kind": "number"},
        },
        {
            "index": 0,
            "edges": [],
            "low": None,
            "high": None,
            "bins_of_codes": [0, 1, 1],
            "num_bins": 2,
            "record": RECORD | {"name": "a", "kind": "category"},
        },
        {
            "index": 0,
            "edges": [0.5],
            "low": None,
            "high": None,
            "bins_of_codes": [],
            "num_bins": 2,
            "record": RECORD | {"name": "yes", "kind": "score"},
        },
        {
            "index": 0,
            "edges": [],
            "low": None,
            "high": None,
            "bins_of_codes": [0, 1],
            "num_bins": 2,
            "record": RECORD | {"name": "class", "kind": "class"},
        },
    ],
}
YES = {"prediction": [0.75], "class": 1}


class Clock:
    """Milliseconds that a test sets."""

    def __init__(self) -> None:
        self.ms = 600_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.json").write_text(json.dumps({"name": "churn", "version": 3}))
    (tmp_path / "bins.json").write_text(json.dumps(BINS))
    return tmp_path


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def counter(folder: Path, clock: Clock) -> Counter:
    return Counter(folder, folder / "state", clock)


def only(state: Path) -> Any:
    (path,) = reports(state)
    return json.loads(path.read_text())


def test_a_window_that_is_over_is_a_report(counter: Counter, clock: Clock, folder: Path) -> None:
    counter.count([0, 0.5], YES)
    counter.count([2, -9.0], YES)
    counter.count([7, NAN], None)
    counter.count(None, None)
    clock.ms += 61_000
    counter.count([NAN, 5.0], {"prediction": [0.25], "class": 0})
    assert reports(folder / "state") == []
    clock.ms = 900_001
    counter.count([1, 1.0], YES)
    found = only(folder / "state")
    assert (found["format"], found["number"], found["model"], found["version"]) == (1, 1, "churn", 3)
    assert found["minutes"] == {
        "600000": {"first": 600_000, "last": 600_000, "predicted": 2, "failed": 1, "rejected": 1},
        "660000": {"first": 661_000, "last": 661_000, "predicted": 1},
    }
    drift = found["drift"]
    assert [drift[name] for name in ("window_start", "window_end", "seen", "rows")] == [600_000, 900_000, 4, 4]
    number, category, score, decided = drift["columns"]
    assert (number["counts"], number["missing"], number["below"], number["above"]) == ([1, 1, 1], 1, 1, 1)
    assert number["sum"] == -3.5
    assert (category["counts"], category["unseen"], category["missing"]) == ([1, 1], 1, 1)
    assert (score["counts"], decided["counts"]) == ([1, 2], [1, 2])
    assert counter.report["number"] == 2


def test_another_run_continues_with_the_number_of_the_window(counter: Counter, clock: Clock, folder: Path) -> None:
    counter.count([0, 0.5], YES)
    counter.save()
    device = counter.device["device"]
    again = Counter(folder, folder / "state", clock)
    again.count([0, 0.5], YES)
    clock.ms = 900_000
    again.count([0, 0.5], YES)
    found = only(folder / "state")
    assert (found["number"], found["device"], found["drift"]["rows"]) == (1, device, 2)
    # A run that ended between the report and the removal of open.json writes the same report again, with its number.
    (folder / "state" / "open.json").write_text(json.dumps(found))
    third = Counter(folder, folder / "state", clock)
    third.count([0, 0.5], YES)
    assert [path.name for path in reports(folder / "state")] == ["000000000001.json"]
    assert third.report["number"] == 3


def test_the_oldest_reports_are_removed(
    counter: Counter, clock: Clock, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MAX_REPORTS", 2)
    for _ in range(5):
        counter.count([0, 0.5], YES)
        clock.ms += 300_000
    assert [path.name for path in reports(folder / "state")] == ["000000000003.json", "000000000004.json"]


class Server(HTTPServer):
    """Answers with the statuses of a list, then with 200, and keeps what it gets."""

    statuses: list[int]
    got: list[tuple[str | None, Any]]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.got.append((self.headers["Authorization"], body["number"]))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.statuses, server.got = [], []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_reports_are_posted_in_order_and_kept_until_they_are_taken(
    counter: Counter, clock: Clock, folder: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(4):
        counter.count([0, 0.5], YES)
        clock.ms += 300_000
    state, url = folder / "state", f"http://127.0.0.1:{server.server_port}/edge/reports"
    server.statuses = [200, 503]
    assert send(state, url, "secret") == 1
    assert server.got == [("Bearer secret", 1), ("Bearer secret", 2)]
    assert "503 Service Unavailable: 2 reports are kept" in capsys.readouterr().err
    server.statuses = [400]
    assert send(state, url, None) == 1
    assert server.got[2:] == [(None, 2), (None, 3)]
    assert "000000000002.json is refused: 400" in capsys.readouterr().err
    assert reports(state) == []
    counter.count([0, 0.5], YES)
    assert send(state, "http://127.0.0.1:1/edge/reports", None) == 1
    assert "no connection" in capsys.readouterr().err
    assert len(reports(state)) == 1


def test_a_url_that_sends_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["send", "--state", str(tmp_path), "--url", f"file://{tmp_path}"])
    assert "must begin with http:// or https://" in capsys.readouterr().err
