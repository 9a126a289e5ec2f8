"""A worker imports nothing that it does not need, and little memory in addition to that of torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MOST_OWN_MIB = 60

# Modules of other commands, of extras, of torch's compilers, and of features that are off by default.
NOT_NEEDED = {
    "faust", "matplotlib", "noida_db", "pandas", "pyarrow", "pynvml", "requests", "rich", "sklearn",
    "forebay.stream.aggregate.app", "forebay.stream.bench", "forebay.stream.demo", "forebay.stream.publish",
    "sympy", "torch._dynamo", "torch._inductor", "triton",
}  # fmt: skip

SCRIPT = """
import json, sys
from benchmarks.idle_memory import own_mib
import torch
before = own_mib()
import forebay.stream.cli.run, forebay.stream.worker.assembly
import forebay.models.serving.load_gate, forebay.models.backends.torch.backend
print(json.dumps({"modules": sorted(sys.modules), "own_mib": own_mib() - before}))
"""


@pytest.fixture(scope="module")
def imported() -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_worker_imports_nothing_that_it_does_not_need(imported: dict[str, Any]) -> None:
    assert NOT_NEEDED & set(imported["modules"]) == set()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_worker_needs_little_memory_in_addition_to_torch(imported: dict[str, Any]) -> None:
    assert imported["own_mib"] < MOST_OWN_MIB
