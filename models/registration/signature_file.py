"""A JSON file that states what a model takes, as `forebay init --from-topic` writes it and people edit it.

    {"features": [{"name": "amount", "dtype": "float32", "categories": [], "nullable": false}]}

With `task` and `output_dim` as well, the file states everything, as `Signature.to_dict` returns it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from forebay.models.artefacts.signature import Feature, Signature
from forebay.schemas.errors import ModelError

SUFFIX: Final = ".json"
MAX_BYTES: Final = 64 << 20


def read_signature_file(path: Path) -> Signature | tuple[Feature, ...]:
    """Return the signature in a JSON file, or only its features. Raises ModelError that names the file and the key."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _error(f"{path}: the file is larger than {MAX_BYTES >> 20} MiB", "give a file with a signature")
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _error(f"{path}: cannot be read: {error.strerror or error}", "give the path of a file") from None
    except (ValueError, RecursionError) as error:
        raise _error(f"{path}: not JSON: {error}", "correct the file, or write it again") from None
    if not isinstance(document, dict) or "features" not in document:
        raise _error(f"{path}: there is no key features", 'write {"features": [...]}, or a Signature.to_dict()')
    if "task" in document or "output_dim" in document:
        return Signature.from_dict(document, str(path))
    features = document["features"]
    if not isinstance(features, list) or not features:
        raise _error(f"{path}: features is not a list of features", 'write {"features": [{"name": ...}]}')
    completed = [_completed(feature) if isinstance(feature, dict) else feature for feature in features]
    # The number of columns differs from that of the features where one is a time.
    shape = [sum(len(parts) if isinstance(parts := _parts(feature), list) and parts else 1 for feature in completed)]
    stated = {"features": completed, "shape": shape, "task": "regression", "output_dim": 1, "labels": []}
    return Signature.from_dict(stated, str(path)).features


def _completed(feature: dict[str, object]) -> dict[str, object]:
    """Return a feature with the keys that people leave out."""
    return {"dtype": "float32", "categories": [], "nullable": False, **feature}


def _parts(feature: object) -> object:
    return feature.get("parts") if isinstance(feature, dict) else None


def _error(message: str, remedy: str) -> ModelError:
    return ModelError(message, kind="signature", remedy=remedy)
