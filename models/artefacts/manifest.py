"""The manifest of an artefact: everything about a model except its weights, and whether its parts fit together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import torch

from forebay.models.artefacts.architectures import Net, build_net
from forebay.models.artefacts.json_object import JsonObject, decode_json
from forebay.models.artefacts.preparation import prepared_shape, prepared_width
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.signature import Signature
from forebay.schemas.errors import ModelError

FORMAT: Final = 1
_KEYS: Final = frozenset(
    {
        "format",
        "name",
        "version",
        "architecture",
        "params",
        "signature",
        "preprocessing",
        "weights",
        "metrics",
        "created_at",
        "note",
    }
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of manifest.json.

    weights_sha256, weights_bytes: SHA-256 in hex and size of the weights file.
    created_at: a time with a time zone.
    metrics: metrics of the training.
    note: a note for people about how the model was made.
    """

    name: str
    version: int
    architecture: str
    params: Mapping[str, object]
    signature: Signature
    preprocessing: Preprocessing
    weights_sha256: str
    weights_bytes: int
    metrics: Mapping[str, float]
    created_at: datetime
    note: str = ""

    def to_json(self) -> bytes:
        """Return the bytes of the file. Raises ModelError(kind="manifest") for what JSON cannot hold, such as NaN."""
        document = {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "created_at": self.created_at.isoformat(),
            "note": self.note,
            "architecture": self.architecture,
            "params": dict(self.params),
            "metrics": {name: float(value) for name, value in self.metrics.items()},
            "weights": {"sha256": self.weights_sha256, "bytes": self.weights_bytes},
            "signature": self.signature.to_dict(),
            "preprocessing": self.preprocessing.to_dict(),
        }
        try:
            return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
        except (ValueError, TypeError) as error:
            raise ModelError(
                f"the manifest of {self.name!r} cannot be written as JSON: {error}",
                kind="manifest",
                remedy="give metrics that are finite numbers, and names and notes that are valid Unicode",
            ) from None

    @classmethod
    def from_json(cls, data: bytes, file: str) -> Manifest:
        """Return the manifest in the bytes of a file. Raises ModelError that names `file`, the key and what is allowed."""
        fields = JsonObject(decode_json(data, file), file)
        number = fields.integer("format", minimum=1)
        if number != FORMAT:
            raise ModelError(
                f"{file}: the format is {number}; this version of Forebay reads format {FORMAT}",
                kind="format",
                remedy="upgrade Forebay here, or publish the model again with this version",
            )
        fields.reject_unknown_keys(_KEYS)
        weights = fields.child("weights")
        weights.reject_unknown_keys({"sha256", "bytes"})
        created_at = fields.text("created_at")
        try:
            moment = datetime.fromisoformat(created_at)
        except ValueError:
            fields.fail("created_at", created_at, "a time such as 2026-11-02T09:30:00+00:00")
        return cls(
            name=fields.text("name"),
            version=fields.integer("version", minimum=1),
            architecture=fields.text("architecture"),
            params=fields.mapping("params"),
            signature=Signature.read(fields.child("signature")),
            preprocessing=Preprocessing.read(fields.child("preprocessing")),
            weights_sha256=weights.text("sha256"),
            weights_bytes=weights.integer("bytes"),
            metrics=fields.number_mapping("metrics"),
            created_at=moment,
            note=fields.text("note"),
        )


def outline(architecture: str, params: Mapping[str, object]) -> Net:
    """Return the net without memory for weights, so that absurd parameters cost nothing. Raises like `build_net`."""
    with torch.device("meta"):
        return build_net(architecture, params)


def check_fit(net: Net, signature: Signature, preprocessing: Preprocessing, place: str) -> None:
    """Raise ModelError(kind="signature") unless signature, preprocessing and net fit together.

    place: the start of the message: the manifest's path, or the model's name if it has no path yet.
    """
    try:
        width, shape = prepared_width(signature, preprocessing), prepared_shape(signature, preprocessing)
    except ModelError as error:
        raise _error(place, error.message) from None
    if width != net.input_dim:
        raise _error(place, f"the preprocessing gives {width} columns, but {net.architecture} takes {net.input_dim}")
    if max(len(shape), len(net.input_shape)) > 1 and shape != net.input_shape:
        raise _error(
            place,
            f"rows have the shape {list(shape)} in the signature, but {net.architecture} takes {list(net.input_shape)}",
        )
    if signature.output_dim != net.output_dim:
        raise _error(
            place,
            f"the signature states {signature.output_dim} outputs; {net.architecture} gives {net.output_dim}",
        )


def _error(place: str, problem: str) -> ModelError:
    return ModelError(
        f"{place}: {problem}",
        kind="signature",
        remedy="correct the signature, the preprocessing or the parameters, and publish the model again",
    )
