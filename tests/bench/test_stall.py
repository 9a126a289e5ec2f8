"""The error if predictions stop arriving."""

from __future__ import annotations

from pathlib import Path

from forebay.stream.bench.stall import stalled_error
from forebay.stream.core.clock import SystemClock
from forebay.stream.embedded.worker_process import WorkerProcess


def test_the_error_holds_the_end_of_the_workers_log(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text("first line\nlast line\n")
    worker = WorkerProcess(tmp_path / "forebay.toml", log, environ={}, clock=SystemClock(), die_with_parent=False)
    error = stalled_error(worker, "5 of 9 predictions arrived, then none for 60 s")
    assert error.kind == "bench_stalled"
    assert str(error).startswith("5 of 9 predictions arrived, then none for 60 s; the worker's log ends:\n")
    assert str(error).endswith("first line\nlast line")
