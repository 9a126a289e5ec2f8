"""How much more memory this process can take, from the files of control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from forebay.stream.telemetry.available_memory import available_bytes
from forebay.stream.telemetry.process_usage import free_memory_bytes

GIB = 1 << 30


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(text)


def available(tmp_path: Path, own: str) -> int:
    (tmp_path / "own").write_text(own)
    return available_bytes(cgroups=tmp_path / "cgroup", own_cgroups=tmp_path / "own", free_bytes=lambda: 8 * GIB)


def test_the_limit_of_a_group_around_the_own_one_applies_and_pages_of_files_can_be_dropped(tmp_path: Path) -> None:
    write(tmp_path / "cgroup" / "pod", memory_max=f"{GIB}\n", memory_current=f"{3 * GIB // 4}\n")
    write(tmp_path / "cgroup" / "pod", memory_stat=f"anon 5\ninactive_file {GIB // 8}\n")
    write(tmp_path / "cgroup" / "pod" / "worker", memory_max="max\n", memory_current="7\n")
    assert available(tmp_path, "0::/pod/worker\n") == GIB // 4 + GIB // 8


def test_groups_of_version_1_have_other_names(tmp_path: Path) -> None:
    folder = tmp_path / "cgroup" / "memory" / "docker"
    write(folder, memory_limit_in_bytes=f"{GIB}\n", memory_usage_in_bytes=f"{GIB // 2}\n")
    assert available(tmp_path, "5:cpu,cpuacct:/docker\n4:memory:/docker\n") == GIB // 2


@pytest.mark.parametrize("own", ["0::/\n", "0::/../../outside\n", "nonsense\n"])
def test_without_a_limit_the_free_memory_of_the_machine_counts(tmp_path: Path, own: str) -> None:
    assert available(tmp_path, own) == 8 * GIB


def test_a_machine_has_free_memory() -> None:
    assert 0 < available_bytes() <= free_memory_bytes() + GIB
