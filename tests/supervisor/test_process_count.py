"""The number of processes for `auto`, from control groups in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from forebay.stream.supervisor.process_count import automatic_count, usable_cores


@pytest.mark.parametrize(
    ("own", "files", "affinity", "cores"),
    [
        ("", {}, 8, 8),
        ("0::/pod/worker\n", {"pod/worker/cpu.max": "max 100000\n"}, 8, 8),
        ("0::/pod/worker\n", {"pod/worker/cpu.max": "350000 100000\n"}, 8, 3),
        ("0::/pod/worker\n", {"pod/worker/cpu.max": "50000 100000\n"}, 8, 1),
        ("0::/pod/worker\n", {"pod/worker/cpu.max": "600000 100000\n"}, 4, 4),
        ("0::/pod/worker\n", {"pod/cpu.max": "200000 100000\n", "pod/worker/cpu.max": "max 100000\n"}, 8, 2),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 8, 2),
        ("4:cpu,cpuacct:/pod\n", {"cpu/pod/cpu.cfs_quota_us": "300000", "cpu/pod/cpu.cfs_period_us": "100000"}, 8, 3),
        ("4:cpu,cpuacct:/pod\n", {"cpu/pod/cpu.cfs_quota_us": "-1", "cpu/pod/cpu.cfs_period_us": "100000"}, 8, 8),
        ("0::/pod\n", {"pod/cpu.max": "rubbish"}, 8, 8),
        ("rubbish\n", {}, 8, 8),
    ],
)
def test_usable_cores(tmp_path: Path, own: str, files: Mapping[str, str], affinity: int, cores: int) -> None:
    own_cgroups = tmp_path / "self"
    own_cgroups.write_text(own)
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = usable_cores(cgroups=tmp_path / "cgroup", own_cgroups=own_cgroups, affinity=lambda: affinity)
    assert found == cores


def test_a_system_without_control_groups(tmp_path: Path) -> None:
    assert usable_cores(cgroups=tmp_path, own_cgroups=tmp_path / "none") >= 1


@pytest.mark.parametrize(("cores", "partitions", "count"), [(4, 16, 4), (8, 6, 6), (1, 6, 1), (8, 0, 1)])
def test_auto_is_limited_by_cores_and_partitions(cores: int, partitions: int, count: int) -> None:
    assert automatic_count(cores=cores, partitions=partitions) == count
