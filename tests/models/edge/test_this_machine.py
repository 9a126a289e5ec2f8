"""Inspecting a machine by its files."""

from __future__ import annotations

from pathlib import Path

from forebay.models.edge.this_machine import inspect_machine, instruction_sets

X86 = """processor\t: 0
model name\t: Example 3000
cpu MHz\t\t: 2445.4
flags\t\t: fpu sse4_2 avx avx2 avx512f avx512_vnni fma
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp sve\n\nHardware\t: Board\n"


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_what_is_readable_is_reported(tmp_path: Path) -> None:
    cache = "sys/devices/system/cpu/cpu0/cache"
    write(
        tmp_path,
        {
            "proc/cpuinfo": X86,
            "proc/meminfo": "MemTotal:  1000 kB\nMemAvailable:  800 kB\n",
            "sys/fs/cgroup/memory.max": "409600\n",
            **{f"{cache}/index{index}/level": str(level) for index, level in enumerate((1, 1, 2, 3))},
            **{
                f"{cache}/index{index}/type": kind
                for index, kind in enumerate(("Data", "Instruction", "Unified", "Unified"))
            },
            **{f"{cache}/index{index}/size": size for index, size in enumerate(("32K", "64K", "512K", "16M"))},
            "sys/class/power_supply/AC/type": "Mains\n",
            "sys/class/power_supply/AC/online": "0\n",
            "sys/class/power_supply/BAT0/type": "Battery\n",
            "sys/class/powercap/intel-rapl:0/energy_uj": "123",
            "dev/apex_0": "",
        },
    )
    found = inspect_machine(tmp_path)
    assert (found.processor.name, found.processor.mhz) == ("Example 3000", 2445)
    assert found.processor.instruction_sets == ["SSE4.2", "AVX", "AVX2", "AVX512F", "AVX512_VNNI", "FMA"]
    assert found.processor.cores >= 1
    memory = found.memory
    assert (memory.total_bytes, memory.available_bytes) == (1_024_000, 409_600)
    assert (memory.l1d_bytes, memory.l2_bytes, memory.l3_bytes) == (32 << 10, 512 << 10, 16 << 20)
    assert found.accelerators == ["Coral Edge TPU"]
    assert found.power.source == "battery"
    assert found.power.energy_counter.endswith("energy_uj")


def test_what_is_not_readable_is_unknown(tmp_path: Path) -> None:
    found = inspect_machine(tmp_path)
    assert found.power.source == "unknown"
    assert (found.memory.total_bytes, found.accelerators, found.processor.instruction_sets) == (0, [], [])


def test_instruction_sets_of_arm() -> None:
    assert instruction_sets(ARM) == ["NEON", "DOTPROD", "SVE"]
