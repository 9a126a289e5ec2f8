"""Count predictions on a device in a bounded folder, and post the counts to a worker when there is a connection.

python report.py run < events.jsonl    predict like runner.py, and count
python report.py send --url https://worker:8080/edge/reports [--token-file FILE]
    --state FOLDER                     where the counts are kept [state, beside this file]
"""

import argparse
import contextlib
import json
import os
import runpy
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FORMAT, MAX_REPORTS, MINUTE_MS, SAVE_MS, TIMEOUT_S = 1, 300, 60_000, 30_000, 30.0
KEPT_AFTER = (401, 403, 404, 408, 429)
"""After these statuses, and those of the server's faults, the report is kept: it is not the report that is wrong."""


class Counter:
    """Counts predictions in windows of time. A window that is over is a report, in a file named by its number.

    The number is fixed when the window begins: a report that is written or posted twice has the same number. Of the files, only
    this class writes device.json and open.json, and only `send` removes reports.
    """

    def __init__(self, folder: Path, state: Path, now_ms: Callable[[], int]) -> None:
        self.about = json.loads((folder / "model.json").read_text("utf-8"))
        self.bins = json.loads((folder / "bins.json").read_text("utf-8"))
        self.state, self.now_ms, self.saved_ms = state, now_ms, 0
        state.mkdir(parents=True, exist_ok=True)
        self.device = read(state / "device.json") or {"device": f"device-{uuid.uuid4().hex}", "number": 0}
        self.report = read(state / "open.json")

    def count(self, row: Any, prediction: Any) -> None:
        """Count an event. row: [F], None if its features were rejected; prediction: None if the model rejected the row."""
        report, now_ms = self.current(), self.now_ms()
        minute = report["minutes"].setdefault(str(now_ms - now_ms % MINUTE_MS), {"first": now_ms, "last": now_ms})
        outcome = "rejected" if row is None else "failed" if prediction is None else "predicted"
        minute[outcome] = minute.get(outcome, 0) + 1
        minute["last"] = now_ms
        if row is not None:
            report["drift"]["seen"] += 1
            report["drift"]["rows"] += 1
            values = np.asarray(row, dtype=np.float32)
            for bins, counts in zip(self.bins["columns"], report["drift"]["columns"], strict=True):
                source = {"score": "prediction", "class": "class"}.get(counts["kind"])
                if source is None:
                    add(bins, counts, values[bins["index"]])
                elif prediction is not None:
                    add(bins, counts, np.float32(np.ravel(prediction[source])[bins["index"]]))
        if now_ms - self.saved_ms > SAVE_MS:
            self.save()

    def current(self) -> Any:
        """Return the report of the current window, after the one before has been closed."""
        now_ms, width_ms = self.now_ms(), 1000 * self.bins["window_s"]
        start = now_ms - now_ms % width_ms
        if self.report is not None and self.report["drift"]["window_start"] != start:
            self.close()
        if self.report is None:
            self.device["number"] += 1
            write(self.state / "device.json", self.device)
            columns = [dict(bins["record"], counts=[0] * bins["num_bins"]) for bins in self.bins["columns"]]
            drift = {"window_start": start, "window_end": start + width_ms, "seen": 0, "rows": 0, "columns": columns}
            model = {"model": self.about["name"], "version": self.about["version"]}
            self.report = {"format": FORMAT, **self.device, **model, "minutes": {}, "drift": drift}
        return self.report

    def close(self) -> None:
        """Write the report of the window, and remove the oldest reports if there are too many."""
        if self.report is not None:
            write(self.state / f"{self.report['number']:012d}.json", self.report)
            (self.state / "open.json").unlink(missing_ok=True)
            self.report = None
        for path in reports(self.state)[:-MAX_REPORTS]:
            path.unlink(missing_ok=True)

    def save(self) -> None:
        """Write the counts of the current window, with which another run continues."""
        self.saved_ms = self.now_ms()
        if self.report is not None:
            write(self.state / "open.json", self.report)


def add(bins: Any, counts: Any, value: Any) -> None:
    """Count a value in its bin: the number of edges that it reaches, or the bin of its code."""
    if np.isnan(value):
        counts["missing"] += 1
    elif bins["bins_of_codes"]:
        code = int(value)
        if code < len(bins["bins_of_codes"]):
            counts["counts"][bins["bins_of_codes"][code]] += 1
        else:
            counts["unseen"] += 1
    else:
        counts["counts"][int(np.searchsorted(np.float32(bins["edges"]), value, side="right"))] += 1
        counts["sum"] += float(value) if np.isfinite(value) else 0.0
        counts["below"] += int(bins["low"] is not None and value < np.float32(bins["low"]))
        counts["above"] += int(bins["high"] is not None and value >= np.float32(bins["high"]))


def reports(state: Path) -> list[Path]:
    """Return the files of the reports, oldest first."""
    return sorted(state.glob("[0-9]*.json"))


def read(path: Path) -> Any:
    """Return the content of a file; None if there is none."""
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def write(path: Path, document: Any) -> None:
    """Replace a file as a whole, so that a loss of power leaves the old or the new one."""
    temporary = path.with_suffix(".part")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def run(folder: Path, state: Path) -> int:
    """Predict the lines of standard input, and count them."""
    runner = runpy.run_path(str(folder / "runner.py"))["Runner"](folder)
    counter = Counter(folder, state, lambda: time.time_ns() // 1_000_000)
    try:
        for line in sys.stdin:
            row = prediction = None
            try:
                row = runner.row(json.loads(line).get("features"))
                prediction = runner.predict(row)
                print(json.dumps(prediction), flush=True)
            except (AttributeError, TypeError, ValueError) as error:
                print(json.dumps({"error": str(error)}), flush=True)
            counter.count(row, prediction)
    finally:
        counter.save()
    return 0


def send(state: Path, url: str, token: str | None) -> int:
    """Post the reports, oldest first, and remove each that was taken or refused for what it is."""
    sent = refused = 0
    for path in reports(state):
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        request = urllib.request.Request(url, path.read_bytes(), headers, method="POST")  # noqa: S310 - see `main`
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310
                sent += 1
        except urllib.error.HTTPError as error:
            if error.code in KEPT_AFTER or error.code >= 500:
                print(f"{error.code} {error.reason}: {len(reports(state))} reports are kept", file=sys.stderr)
                return 1
            print(f"{path.name} is refused: {error.code} {error.read(500).decode(errors='replace')}", file=sys.stderr)
            refused += 1
        except OSError as error:
            print(f"no connection ({error}): {len(reports(state))} reports are kept", file=sys.stderr)
            return 1
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    print(f"{sent} reports sent, {refused} refused")
    return 1 if refused else 0


def main(arguments: list[str]) -> int:
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("run", "send"))
    parser.add_argument("--state", type=Path, default=here / "state")
    parser.add_argument("--url")
    parser.add_argument("--token-file", type=Path)
    options = parser.parse_args(arguments)
    if options.action == "run":
        return run(here, options.state)
    if not options.url:
        parser.error("send needs --url")
    # A URL with another scheme, such as file:, is opened without sending anything.
    if not options.url.startswith(("http://", "https://")):
        parser.error(f"--url is {options.url}; it must begin with http:// or https://")
    token = options.token_file.read_text("utf-8").strip() if options.token_file else None
    return send(options.state, options.url, token)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
