"""Verify an exported model on this device: its files, golden rows, latency and memory, against its limits.

python verify.py [FOLDER] [--json]    exit status 1 if something is not as it should be; FOLDER: where this file is
"""

import hashlib
import json
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

SUMS = "SHA256SUMS"
WARM_UP_CALLS, CALLS, SECONDS = 100, 5000, 3.0


def check_files(folder: Path) -> str:
    """Return which files differ from their checksums, or nothing."""
    lines = (folder / SUMS).read_text("utf-8").splitlines()
    for digest, name in (line.split("  ", 1) for line in lines):
        path = folder / name
        if Path(name).name != name or not path.is_file():
            return f"{name} is missing"
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            return f"{name} differs from its checksum: copy the folder again"
    return ""


def check_golden(runner: Any, golden: Any, tolerance: dict[str, float]) -> str:
    """Return how the outputs and scores for the golden rows differ from those of the worker, or nothing."""
    found = runner.session.run(["outputs", "scores"], {"rows": golden["rows"]})
    allowed = tolerance["absolute"] + tolerance["relative"] * np.abs(golden["outputs"].astype(np.float64))
    # A score never differs by more than the outputs that it is made of, apart from rounding.
    for name, values, most in zip(
        ("outputs", "scores"), found, (allowed, allowed.max(1, keepdims=True) + 1e-5), strict=True
    ):
        difference = np.abs(values.astype(np.float64) - golden[name])
        wrong = np.flatnonzero(~(difference <= most).all(axis=1))
        if len(wrong):
            return f"{name} differ by up to {difference.max():.3g} for {len(wrong)} of {len(values)} golden rows"
    return ""


def measure_latency(runner: Any, rows: Any) -> dict[str, float]:
    """Return the time of a prediction in milliseconds, one row at a time."""
    for index in range(WARM_UP_CALLS):
        runner.predict(rows[index % len(rows)])
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(times) < CALLS and (len(times) < WARM_UP_CALLS or time.perf_counter() < end):
        start = time.perf_counter()
        runner.predict(rows[len(times) % len(rows)])
        times.append(1000 * (time.perf_counter() - start))
    p50, p99 = np.percentile(times, [50, 99])
    return {"p50_ms": float(p50), "p99_ms": float(p99), "calls": len(times)}


def peak_memory_bytes() -> int:
    """Return the largest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():  # the resource usage would include the process that started this one
        return 1024 * int(status.read_text().partition("VmHWM:")[2].split()[0])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def verify(folder: Path) -> dict[str, Any]:
    """Return what was checked and measured."""
    problems = [problem for problem in [check_files(folder)] if problem]
    if problems:  # nothing of a damaged folder is run
        return {"ok": False, "problems": problems}
    runner = runpy.run_path(str(folder / "runner.py"))["Runner"](folder)
    about = runner.about
    with np.load(folder / "golden.npz", allow_pickle=False) as file:
        golden = {name: file[name] for name in ("rows", "outputs", "scores")}
    problems += [problem for problem in [check_golden(runner, golden, about["tolerance"])] if problem]
    found = {"model": about["name"], "version": about["version"], "golden_rows": len(golden["rows"])}
    found |= measure_latency(runner, golden["rows"])
    found |= {"peak_memory_bytes": peak_memory_bytes(), "model_bytes": (folder / "model.onnx").stat().st_size}
    for name in ("model_bytes", "peak_memory_bytes", "p99_ms"):
        limit = about["limits"].get(name)
        if limit is not None and found[name] > limit:
            problems.append(
                f"{name} is {found[name]:,.12g}, above the limit of {limit:,.12g} by {found[name] / limit - 1:.0%}"
            )
    return found | {"limits": about["limits"], "ok": not problems, "problems": problems}


def render(found: dict[str, Any]) -> list[str]:
    """Return the result as lines of text."""
    lines = [f"problem      {problem}" for problem in found["problems"]]
    if "model" in found:
        measured = f"p50 {found['p50_ms']:.3f} ms, p99 {found['p99_ms']:.3f} ms, {found['calls']} calls of one row"
        lines[:0] = [
            f"model        {found['model']}@{found['version']}, {found['model_bytes'] / 1000:.1f} KB",
            f"golden rows  {found['golden_rows']} compared",
            f"latency      {measured}",
            f"peak memory  {found['peak_memory_bytes'] / 1e6:.1f} MB",
        ]
    return [*lines, "verified" if found["ok"] else "NOT verified"]


def main(arguments: list[str]) -> int:
    """Verify the folder and print the result."""
    folders = [argument for argument in arguments if argument != "--json"]
    found = verify(Path(folders[0]) if folders else Path(__file__).resolve().parent)
    print(json.dumps(found) if "--json" in arguments else "\n".join(render(found)))
    return 0 if found["ok"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
