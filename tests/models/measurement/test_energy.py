"""Energy: RAPL counters and their overflow, and the estimate elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from forebay.models.measurement.energy import EstimateMeter, RaplMeter, find_energy_meter, rapl_packages


def domain(root: Path, name: str, label: str, microjoules: int, largest: int = 1_000_000) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{label}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{largest}\n")
    return folder


def test_packages_are_counted_once_and_their_parts_not_again(tmp_path: Path) -> None:
    first = domain(tmp_path, "intel-rapl:0", "package-0", 100)
    domain(tmp_path, "intel-rapl:0:0", "core", 50)
    second = domain(tmp_path, "intel-rapl:1", "package-1", 100)
    domain(tmp_path, "intel-rapl:2", "psys", 900)
    assert rapl_packages(tmp_path) == [first, second]


def test_rapl_adds_up_and_survives_a_counter_that_wraps_around(tmp_path: Path) -> None:
    folder = domain(tmp_path, "intel-rapl:0", "package-0", 900_000)
    meter = find_energy_meter(lambda: 0.0, powercap=tmp_path)
    assert isinstance(meter, RaplMeter) and meter.source == "rapl"
    (folder / "energy_uj").write_text("950000")
    assert meter.joules() == pytest.approx(0.05)
    (folder / "energy_uj").write_text("10000")
    assert meter.joules() == pytest.approx(0.11)


@pytest.mark.parametrize("content", [None, "unreadable"])
def test_without_readable_counters_the_energy_is_an_estimate_and_says_so(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (domain(tmp_path, "intel-rapl:0", "package-0", 1) / "energy_uj").write_text(content)
    cpu = iter([10.0, 10.5])
    meter = find_energy_meter(lambda: next(cpu), powercap=tmp_path / "none" if content is None else tmp_path)
    assert isinstance(meter, EstimateMeter) and meter.source == "estimate"
    assert meter.joules() == pytest.approx(5.0)
    assert "estimate" in meter.description and "10 W" in meter.description
