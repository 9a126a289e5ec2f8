"""The comparison's order and statistics."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.compare import order_of, summarise, to_table
from benchmarks.contestants.catalogue import CONTESTANTS
from benchmarks.contestants.job import Job, Stopwatch
from benchmarks.field import Run
from benchmarks.plot import save_plot


def make_run(events_per_s: float, cpu_s: float = 1.0) -> Run:
    return Run(1_000, 1_000 / events_per_s, cpu_s, 100.0)


def test_each_contestant_runs_once_per_round_and_comes_first_in_turn() -> None:
    rounds = [order_of(CONTESTANTS, number) for number in range(len(CONTESTANTS))]
    assert all(sorted(c.name for c in order) == sorted(c.name for c in CONTESTANTS) for order in rounds)
    assert {order[0].name for order in rounds} == {contestant.name for contestant in CONTESTANTS}


def test_ratios_are_medians_over_rounds() -> None:
    said = summarise(
        {
            "forebay": [make_run(400), make_run(100), make_run(500)],
            "aiokafka": [make_run(100), make_run(50), make_run(100)],
        }
    )
    assert said["forebay"]["events_per_s"]["median"] == pytest.approx(400)  # type: ignore[index]
    assert said["aiokafka"]["forebay_ratio"]["median"] == pytest.approx(4)  # type: ignore[index]
    assert said["aiokafka"]["forebay_ratio"]["min"] == pytest.approx(2)  # type: ignore[index]
    assert "forebay_ratio" not in said["forebay"]
    assert to_table(said, "").row_count == 2


def test_contestants_with_transactions_are_compared_with_forebay_exactly_once() -> None:
    said = summarise(
        {
            "forebay": [make_run(400)],
            "forebay exactly once": [make_run(300)],
            "java": [make_run(100)],
            "java exactly once": [make_run(100)],
        }
    )
    ratios = {name: entry.get("forebay_ratio", {}).get("median") for name, entry in said.items()}  # type: ignore[attr-defined]
    assert ratios == {
        "forebay": None,
        "forebay exactly once": pytest.approx(4 / 3),
        "java": pytest.approx(4),
        "java exactly once": pytest.approx(3),
    }


def test_without_forebay_there_are_no_ratios() -> None:
    said = summarise({"aiokafka": [make_run(100)]})
    assert "forebay_ratio" not in said["aiokafka"]
    assert to_table(said, "").row_count == 1


def test_the_watch_stops_at_the_last_commit(capsys: pytest.CaptureFixture[str]) -> None:
    watch = Stopwatch(3)
    watch.first()
    assert not watch.committed(2)
    assert watch.running
    assert watch.committed(1)
    assert not watch.running
    watch.print_result()
    assert '"events": 3' in capsys.readouterr().out


def test_a_job_survives_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(
        bootstrap_servers="host:1",
        features="features",
        predictions="predictions",
        group_id="g",
        events=5,
        repository="/tmp/r",
        model="m",
        config="/tmp/c.toml",
        idempotent=True,
        processing_guarantee="exactly_once",
    )
    monkeypatch.setattr("sys.argv", ["contestant", job.to_argument()])
    assert Job.from_command_line() == job


def test_a_comparison_is_plotted(tmp_path: Path) -> None:
    summary = summarise({contestant.name: [make_run(400), make_run(500)] for contestant in CONTESTANTS})
    save_plot(summary, "title", tmp_path / "compare.png")
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")
