"""The proof of `forebay edge`: `python -m tests.models.edge.proof` (`make test-edge`) prints a report.

1. Exported versions predict in a bare virtual environment of two packages as a worker does.
2. The predicted median of the latency, and the memory, are compared with those measured there: within 20 %?
3. A described device (model of 256 KB, process of 96 MB, 99th percentile of 5 ms) gets a plan. Each version is run on one core
   with its memory limited, and the plan is compared with what happens.

The exit status is 1 if an export disagrees with the worker, or a version that fits by plan does not fit when it is run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.neural_network import MLPClassifier

from forebay.models.artefacts.preprocessing import Impute, OneHot, Preprocessing, Standardise
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.backends.torch.architectures import build_net
from forebay.models.backends.torch.save import save_artefact
from forebay.models.edge.folder import build_edge_model, edge_files, write_folder
from forebay.models.edge.limits import Limits
from forebay.models.edge.measuring import measure_unit_costs
from forebay.models.edge.plan import Load, PlannedVersion
from forebay.models.edge.planning import chosen_versions, plan_versions
from forebay.models.edge.unit_costs import UnitCosts
from forebay.models.registration.register import register

LIMITS = Limits(model_bytes=256_000, memory_bytes=96_000_000, p99_ms=5.0)
MAX_ERROR = 0.2
NO_BINS = {"window_s": 300, "columns": []}
DIGITS = Signature((), (64,), "multiclass", 10, labels=tuple("0123456789"))
IMAGES = Signature((), (1, 8, 8), "multiclass", 10, labels=tuple("0123456789"))
MIXED = Signature(
    (
        Feature("distance", nullable=True),
        Feature("delay"),
        Feature("carrier", "category", tuple(f"c{index}" for index in range(16)), nullable=True),
    ),
    (3,),
    "binary",
    1,
)


def publish_all(repository: Path) -> list[str]:
    """Publish models of several kinds and sizes; return their names."""
    x, y = load_digits(return_X_y=True)
    scaled = (x / 16).astype(np.float32)
    for hidden in ((32,), (128, 64), (512, 256)):
        net = MLPClassifier(hidden, max_iter=60, random_state=0, early_stopping=True).fit(scaled, y)
        accuracy = float(net.score(scaled, y))
        register(net, name="digits-mlp", repository=repository, signature=DIGITS, metrics={"accuracy": accuracy})
    for trees, depth in ((20, 5), (150, 12)):
        forest = RandomForestClassifier(trees, max_depth=depth, random_state=0).fit(scaled, y)
        register(forest, name="digits-forest", repository=repository, signature=DIGITS, golden_rows=scaled)
    boosted = HistGradientBoostingClassifier(max_iter=20, random_state=0).fit(scaled, y == 3)
    register(boosted, name="digits-boosted", repository=repository, golden_rows=scaled)
    cnn = build_net("cnn", {"in_channels": 1, "image_size": 8, "num_classes": 10})
    save_artefact(repository, "digits-cnn", cnn, signature=IMAGES, created_at=datetime.now(UTC))
    steps = Preprocessing(
        (Impute(3, (0,), (700.0,)), OneHot(3, (2,), (16,)), Standardise(18, (0, 1), (1000.0, 10.0), (700.0, 40.0)))
    )
    net = build_net("mlp", {"input_dim": 18, "hidden_dims": [64, 32], "output_dim": 1})
    save_artefact(repository, "flights", net, signature=MIXED, preprocessing=steps, created_at=datetime.now(UTC))
    return ["digits-mlp", "digits-forest", "digits-boosted", "digits-cnn", "flights"]


def bare_python(folder: Path) -> str:
    """Return the interpreter of a new virtual environment with two packages."""
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "numpy", "onnxruntime"], check=True)
    return python


def verify(python: str, folder: Path, *limits: str) -> Mapping[str, Any]:
    """Run verify.py of a folder. limits: a command that starts it with limits."""
    done = subprocess.run(
        [*limits, python, "-I", str(folder / "verify.py"), "--json"], capture_output=True, text=True, check=False
    )
    if not done.stdout:
        return {"ok": False, "problems": [f"exit status {done.returncode}: {done.stderr.strip()[-200:]}"]}
    found: Mapping[str, Any] = json.loads(done.stdout)
    return found


def ratio_text(predicted: float, measured: float) -> str:
    ratio = predicted / measured
    return f"{ratio - 1:+.0%}{'' if abs(ratio - 1) <= MAX_ERROR else ' !'}"


def compare(python: str, repository: Path, names: list[str], *, costs: UnitCosts, scratch: Path) -> bool:
    """Print a line for each version; return whether every export agrees, and every plan of a version that fits holds."""
    stored = chosen_versions(repository, names)
    planned = plan_versions(stored, costs, limits=LIMITS, load=Load())
    print(
        f"{'version':18} {'size':>9} {'p50 ms':>8} {'error':>7} {'p99 ms':>8} {'MB':>6} {'error':>7}  plan      emulated"
    )
    holds, within = True, []
    for version, expected in zip(stored, planned, strict=True):
        assert expected.prediction is not None and expected.model_bytes is not None
        folder = scratch / expected.reference
        write_folder(folder, edge_files(build_edge_model(version), LIMITS, NO_BINS))
        plain = verify(python, folder)
        limited = verify(python, folder, "taskset", "-c", "0", "prlimit", f"--data={LIMITS.memory_bytes}")
        if "p50_ms" not in plain:
            print(f"{expected.reference:18} {plain['problems']}")
            return False
        errors = [
            expected.prediction.p50_ms / plain["p50_ms"] - 1,
            expected.prediction.memory_bytes / plain["peak_memory_bytes"] - 1,
        ]
        within += [abs(error) <= MAX_ERROR for error in errors]
        print(
            f"{expected.reference:18} {expected.model_bytes / 1000:6.1f} KB {plain['p50_ms']:8.3f} "
            f"{ratio_text(expected.prediction.p50_ms, plain['p50_ms']):>7} {plain['p99_ms']:8.3f} "
            f"{plain['peak_memory_bytes'] / 1e6:6.1f} "
            f"{ratio_text(expected.prediction.memory_bytes, plain['peak_memory_bytes']):>7}  "
            f"{plan_text(expected):9} {'fits' if limited['ok'] else '; '.join(limited['problems'])}"
        )
        differs = any("differ" in problem for problem in plain["problems"])
        holds = holds and not differs and (limited["ok"] or not expected.fits)
    print(f"{sum(within)} of {len(within)} predictions of latency and memory are within {MAX_ERROR:.0%}")
    return holds


def plan_text(version: PlannedVersion) -> str:
    return "fits" if version.fits else "above " + ",".join(excess.what for excess in version.excesses)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Prove `forebay edge` in a bare virtual environment.")
    parser.add_argument("--python", help="an interpreter with numpy and onnxruntime, instead of a new environment")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="forebay-edge-proof-") as temporary:
        scratch = Path(temporary)
        python = options.python or bare_python(scratch / "venv")
        names = publish_all(scratch / "models")
        costs = measure_unit_costs(python=python, on_probe=print)
        print(f"costs: {costs}")
        holds = compare(python, scratch / "models", names, costs=costs, scratch=scratch)
    print("the plan holds" if holds else "the plan does NOT hold")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
