"""Inspect this machine: processor, instruction sets, memory, caches, accelerators and power, as far as they are readable.

Linux has all of it in files; other systems have the part that Python knows.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Final

from forebay.models.edge.device_profile import UNKNOWN, DeviceProfile, Memory, Power, Processor

_INSTRUCTION_SETS: Final = {
    "sse4_2": "SSE4.2",
    "avx": "AVX",
    "avx2": "AVX2",
    "fma": "FMA",
    "f16c": "F16C",
    "avx512f": "AVX512F",
    "avx512bw": "AVX512BW",
    "avx512vl": "AVX512VL",
    "avx512_vnni": "AVX512_VNNI",
    "avx512_bf16": "AVX512_BF16",
    "avx_vnni": "AVX_VNNI",
    "amx_int8": "AMX_INT8",
    "amx_bf16": "AMX_BF16",
    # ARM: Linux lists NEON as asimd on 64 bits.
    "asimd": "NEON",
    "neon": "NEON",
    "asimddp": "DOTPROD",
    "asimdhp": "FP16",
    "i8mm": "I8MM",
    "bf16": "BF16",
    "sve": "SVE",
    "sve2": "SVE2",
}
"""The names of Linux, and those that the vendors use."""
_ACCELERATORS: Final = {
    "dev/nvidia0": "NVIDIA GPU",
    "dev/nvhost-gpu": "NVIDIA Jetson GPU",
    "dev/kfd": "AMD GPU",
    "dev/apex_0": "Coral Edge TPU",
    "dev/hailo0": "Hailo",
    "dev/accel/accel0": "neural processing unit",
    "dev/dri/renderD128": "GPU of the display",
}
_CGROUP_LIMITS: Final = ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes")
_NO_LIMIT: Final = 1 << 60


def inspect_machine(root: Path = Path("/")) -> DeviceProfile:
    """Return what is readable of this machine. root: where its files are, for tests."""
    cpuinfo = _read(root / "proc/cpuinfo")
    return DeviceProfile(
        name=platform.node() or UNKNOWN,
        processor=Processor(
            name=_first(cpuinfo, "model name", "Hardware", "Model") or platform.processor() or UNKNOWN,
            architecture=platform.machine() or UNKNOWN,
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            mhz=_mhz(root, cpuinfo),
            instruction_sets=instruction_sets(cpuinfo),
        ),
        memory=_memory(root),
        accelerators=[name for path, name in _ACCELERATORS.items() if (root / path).exists()],
        power=_power(root),
    )


def instruction_sets(cpuinfo: str) -> list[str]:
    """Return the instruction sets in the text of /proc/cpuinfo that matter for models."""
    flags = _first(cpuinfo, "flags", "Features").split()
    return list(dict.fromkeys(_INSTRUCTION_SETS[flag] for flag in flags if flag in _INSTRUCTION_SETS))


def _memory(root: Path) -> Memory:
    meminfo = _read(root / "proc/meminfo")
    total, available = (1024 * _number(_first(meminfo, name)) for name in ("MemTotal", "MemAvailable"))
    for path in _CGROUP_LIMITS:
        limit = _number(_read(root / path))
        if 0 < limit < _NO_LIMIT:
            available = min(available or limit, limit)
            break
    caches: dict[str, int] = {}
    for index in sorted((root / "sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind = (_read(index / name).strip() for name in ("level", "type"))
        if kind in ("Data", "Unified"):
            caches[level] = _size(_read(index / "size"))
    return Memory(
        total_bytes=total,
        available_bytes=available,
        l1d_bytes=caches.get("1", 0),
        l2_bytes=caches.get("2", 0),
        l3_bytes=caches.get("3", 0),
    )


def _power(root: Path) -> Power:
    source = UNKNOWN
    supplies = sorted((root / "sys/class/power_supply").glob("*"))
    kinds = {_read(supply / "type").strip(): supply for supply in supplies}
    if "Mains" in kinds or "USB" in kinds:
        is_online = any(_read(supply / "online").strip() == "1" for supply in supplies)
        source = "mains" if is_online else "battery" if "Battery" in kinds else UNKNOWN
    elif "Battery" in kinds:
        source = "battery" if _read(kinds["Battery"] / "status").strip() == "Discharging" else UNKNOWN
    counters = sorted((root / "sys/class/powercap").glob("*rapl:0/energy_uj"))
    readable = [str(counter) for counter in counters if os.access(counter, os.R_OK)]
    return Power(source=source, energy_counter=readable[0] if readable else "")


def _mhz(root: Path, cpuinfo: str) -> int:
    khz = _number(_read(root / "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"))
    return khz // 1000 if khz else _number(_first(cpuinfo, "cpu MHz"))


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""


def _first(text: str, *keys: str) -> str:
    """Return the value of the first line `key : value` with one of the keys."""
    for key in keys:
        match = re.search(rf"^{re.escape(key)}\s*:\s*(.*)$", text, re.MULTILINE)
        if match is not None:
            return match[1].strip()
    return ""


def _number(text: str) -> int:
    match = re.match(r"\s*(\d+)", text)
    return int(match[1]) if match else 0


def _size(text: str) -> int:
    factor = {"K": 2**10, "M": 2**20, "G": 2**30}.get(text.strip()[-1:].upper(), 1)
    return _number(text) * factor
