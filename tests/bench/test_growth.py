"""The points of the growth benchmark, their events and configurations, and its report."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from benchmarks.growth.load_events import LoadEvents
from benchmarks.growth.model_files import save_windows_model, windows_name
from benchmarks.growth.points import DIMENSIONS, Load, in_order, latency_rate, num_events, points_of
from benchmarks.growth.report import lines_of, save_plot, to_document
from benchmarks.growth.subject import Result, config_of, save_models
from forebay.models.artefacts.artefact import read_version
from forebay.models.artefacts.signature import Signature
from forebay.stream.bench.events import EventGenerator, number_of
from forebay.stream.config.load import load_settings

SIGNATURE = Signature((), (3,), "multiclass", 2)


def result(cpu_us: float, *, p50_ms: float | None = 20.0) -> Result:
    return Result(
        events=1_000,
        event_bytes=300,
        events_per_s=100_000.0,
        events_per_cpu_s=1e6 / cpu_us,
        cpu_us=cpu_us,
        rest_mib=150.0,
        peak_mib=250.0,
        rate=1_000.0,
        p50_ms=p50_ms,
        p99_ms=None if p50_ms is None else 2 * p50_ms,
        open_windows=0,
        batch_mean=4_096.0,
        commit_mean=16_384.0,
    )


def test_each_point_differs_from_the_base_in_one_field() -> None:
    for point in points_of(list(DIMENSIONS), quick=False):
        base, field = DIMENSIONS[point.dimension].base, DIMENSIONS[point.dimension].field
        different = [name for name in Load.__dataclass_fields__ if getattr(point.load, name) != getattr(base, name)]
        assert different in ([], [field]) and getattr(point.load, field) == point.value


def test_quick_takes_the_ends_and_every_second_round_is_reversed() -> None:
    points = points_of(["partitions"], quick=True)
    assert [point.value for point in points] == [1, 256]
    assert [point.value for point in in_order(points, 0)] == [1, 256]
    assert [point.value for point in in_order(points, 1)] == [256, 1]


def test_large_events_are_fewer_and_slower() -> None:
    assert num_events(300, 400_000) == 400_000
    assert num_events(65_536, 400_000) == 3_051
    assert num_events(10_000_000, 400_000) == 2_000
    assert latency_rate(300, 1_000) == 1_000
    assert latency_rate(20_000, 1_000) == 500


def test_events_have_the_keys_and_bytes_of_the_load() -> None:
    plain = EventGenerator(SIGNATURE)
    events = LoadEvents(plain, Load(keys=2, padding_bytes=50, unread_fields=2))
    assert [events.key(number) for number in range(3)] == [b"key-0", b"key-1", b"key-0"]
    value = events.value(7, 1)
    assert number_of(value) == 7
    assert orjson.loads(value).keys() == {"id", "timestamp", "features", "unread_0", "unread_1"}
    assert LoadEvents(plain, Load(padding_bytes=50)).value(7, 1) == plain.value(7, 1) + b" " * 50


@pytest.mark.parametrize("load", [Load(), Load(processes=2), Load(windows=True, features=8), Load(models=4)], ids=str)
def test_configurations_are_valid(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "forebay.toml"
    path.write_text(config_of(load, servers="h:1", repository=tmp_path, run_id="r", guarantee="exactly_once"))
    settings = load_settings(path, {}).settings
    served = settings.models_to_serve()
    assert len(served) == load.models
    assert settings.worker.processes == load.processes
    assert (served[0].window.kind != "none") == load.windows


def test_models_are_saved_once(tmp_path: Path) -> None:
    for _ in range(2):
        save_models(tmp_path, [Load(features=4, models=2), Load(features=4, windows=True)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net-4-0", "net-4-1", "windows-4-0"]
    save_windows_model(tmp_path, 4, copies=2)
    assert read_version(tmp_path, windows_name(4, 1)).manifest.signature.window is not None


def test_the_report_has_medians_and_ranges(tmp_path: Path) -> None:
    points = points_of(["keys", "windows"], quick=True)
    runs = {point: [result(cpu, p50_ms=None if point.load.windows else 20.0) for cpu in (4, 3, 8)] for point in points}
    lines = list(lines_of(runs))
    assert lines[0].startswith("| different keys | events/s |")
    assert "| 1 | 100,000 | 4.00 | 3.00–8.00 | 150 | 250 | 20.0 | 40.0 | 1,000 |" in lines[2]
    assert "| 1,000 | 100,000 | 4.00 | 3.00–8.00 | 150 | 250 |  |  |  |" in lines[7]
    document = to_document(runs, broker="b")
    assert document["points"][0]["load"]["keys"] == 1 and len(document["points"][0]["results"]) == 3
    save_plot(runs, "title", tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 10_000
