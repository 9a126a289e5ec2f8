"""The README of an exported folder: how to run, verify and watch the model on a device."""

from __future__ import annotations

import json

from forebay.models.artefacts.manifest import Manifest
from forebay.models.artefacts.signature import Feature
from forebay.models.edge.limits import Limits


def readme(manifest: Manifest, limits: Limits) -> str:
    """Return the page. The same manifest and limits give the same text."""
    event = json.dumps({"features": _example(manifest)}, ensure_ascii=False)
    width = manifest.signature.num_features
    stated = [f"- {name}: {value:g}" for name, value in limits.to_dict().items() if value is not None]
    return f"""# {manifest.name}, version {manifest.version}, for a device

Exported by `forebay edge export`. It needs Python 3.10 or later with two packages, and no connection:

    python -m venv .venv && .venv/bin/pip install numpy onnxruntime
    .venv/bin/python verify.py

`verify.py` checks the files, compares the golden rows with the worker's outputs, and measures latency and memory on this
device. Its exit status is 1 if something is not as it should be.

## Predict

    echo '{event}' | .venv/bin/python runner.py

In Python, `Runner(folder)` has `row(features)` and `predict(row)`. The preprocessing, the probabilities and their calibration
are inside `model.onnx`: its input `rows` is float32 [B, {width}] with NaN for missing values, its output
`scores` is what a worker publishes. Other runtimes of ONNX can use the file alone.

## Watch

    .venv/bin/python report.py run < events.jsonl
    .venv/bin/python report.py send --url https://worker:8080/edge/reports --token-file token

`run` predicts and keeps counts and histograms in the folder `state`, for the last 300 windows; `send` posts them when there is
a connection, to a worker with `edge.reports`.

## Limits

{chr(10).join(stated) or "None were stated."}

## Files

| file | content |
|---|---|
| `model.onnx` | the model with its preprocessing |
| `model.json` | features, labels, tolerance and limits |
| `runner.py`, `verify.py`, `report.py` | predict, verify, watch |
| `bins.json` | the bins in which `report.py` counts |
| `golden.npz` | rows with the worker's outputs and scores |
| `MODEL_CARD.md` | where the model comes from, and its metrics |
| `SHA256SUMS` | checksums of all files (`sha256sum -c SHA256SUMS`) |
"""


def _example(manifest: Manifest) -> object:
    features = manifest.signature.column_features
    if not features:
        return [0.0] * min(manifest.signature.num_features, 8)
    return {feature.name: _value(feature) for feature in features}


def _value(feature: Feature) -> object:
    return feature.categories[0] if feature.categories else 1.0
