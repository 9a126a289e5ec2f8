"""The bill of materials of a version: what it consists of and where it comes from, for tools that read CycloneDX 1.6.

Plain JSON that depends on nothing but the manifest: the same version has the same bytes.
"""

from __future__ import annotations

import json
import uuid
from itertools import islice
from typing import Final

from forebay.models.artefacts.manifest import Manifest

BOM_FILE: Final = "bom.cdx.json"

_NAMESPACE: Final = uuid.UUID("5f1c6f0e-2f0b-5d8e-9a5b-1f7a5d1f0e7a")
# The manifest has all of these; a bill of materials must stay small enough to be read.
_MAX_NOTE_CHARS: Final = 20_000
_MAX_METRICS: Final = 1000
_SPDX_IDS: Final = frozenset(
    {
        "0BSD",
        "AFL-3.0",
        "AGPL-3.0-only",
        "AGPL-3.0-or-later",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC-BY-4.0",
        "CC-BY-NC-4.0",
        "CC-BY-NC-SA-4.0",
        "CC-BY-SA-4.0",
        "CC0-1.0",
        "CDLA-Permissive-2.0",
        "EPL-2.0",
        "EUPL-1.2",
        "GPL-2.0-only",
        "GPL-2.0-or-later",
        "GPL-3.0-only",
        "GPL-3.0-or-later",
        "ISC",
        "LGPL-2.1-only",
        "LGPL-2.1-or-later",
        "LGPL-3.0-only",
        "LGPL-3.0-or-later",
        "MIT",
        "MPL-2.0",
        "ODbL-1.0",
        "PDDL-1.0",
        "Unlicense",
        "Zlib",
    }
)
"""The identifiers that are written as such. Any other licence is written as a name, which is valid for every text."""


def bill_of_materials(manifest: Manifest) -> bytes:
    """Return a CycloneDX 1.6 document: the model as a component, and each listed file with its digest.

    manifest: with the entries of the files that the version consists of, this one not among them.
    """
    about = manifest.provenance
    model = f"model:{manifest.name}@{manifest.version}"
    files = sorted(manifest.files.items())
    digests = ",".join(f"{name}={entry.sha256}" for name, entry in files)
    serial = uuid.uuid5(_NAMESPACE, f"{manifest.name}@{manifest.version} {about.created_at.isoformat()} {digests}")
    document: dict[str, object] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {"timestamp": about.created_at.isoformat(), "component": _component(manifest, model)},
        "components": [
            {
                "type": "file",
                "bom-ref": f"file:{name}",
                "name": name,
                "hashes": [{"alg": "SHA-256", "content": entry.sha256}],
                "properties": [{"name": "forebay:bytes", "value": str(entry.num_bytes)}],
            }
            for name, entry in files
        ],
        "dependencies": [{"ref": model, "dependsOn": [f"file:{name}" for name, _ in files]}],
    }
    return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _component(manifest: Manifest, reference: str) -> dict[str, object]:
    about = manifest.provenance
    component: dict[str, object] = {
        "type": "machine-learning-model",
        "bom-ref": reference,
        "name": manifest.name,
        "version": str(manifest.version),
        "modelCard": _model_card(manifest),
        "properties": [
            {"name": "forebay:backend", "value": manifest.backend},
            {"name": "forebay:manifest-format", "value": str(manifest.format)},
        ],
    }
    if about.note:
        component["description"] = about.note[:_MAX_NOTE_CHARS]
    if about.licence:
        component["licenses"] = [_licence(about.licence)]
    if about.parent is not None:
        component["pedigree"] = {
            "ancestors": [
                {"type": "machine-learning-model", "name": manifest.name, "version": str(about.parent)},
            ],
        }
    return component


def _model_card(manifest: Manifest) -> dict[str, object]:
    signature = manifest.signature
    parameters: dict[str, object] = {
        "task": "regression" if signature.task == "regression" else f"{signature.task} classification",
        "inputs": [{"format": f"float32 [rows, {signature.row_width}]"}],
        "outputs": [{"format": f"{manifest.outputs}, float32 [rows, {signature.output_dim}]"}],
    }
    if manifest.architecture:
        parameters["modelArchitecture"] = manifest.architecture
    card: dict[str, object] = {"modelParameters": parameters}
    metrics = manifest.provenance.metrics
    if metrics:
        card["quantitativeAnalysis"] = {
            "performanceMetrics": [
                {"type": name, "value": repr(float(value))} for name, value in islice(metrics.items(), _MAX_METRICS)
            ]
        }
    return card


def _licence(licence: str) -> dict[str, object]:
    if licence in _SPDX_IDS:
        return {"license": {"id": licence}}
    words = licence.split()
    is_expression = len(words) % 2 == 1 and set(words[1::2]) <= {"AND", "OR"} and set(words[::2]) <= _SPDX_IDS
    return {"expression": licence} if is_expression else {"license": {"name": licence}}
