"""The manifest of an artefact: all about a model but its weights, and whether its parts fit together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import torch

from forebay.models.artefacts.architectures import Net, build_net
from forebay.models.artefacts.document import Table, decode_json
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
    """What manifest.json holds.

    `weights_sha256` (hex) and `weights_bytes` are of the weights file; `created_at` carries its time zone;
    `metrics` are those of training, and `note` says for people how the model came about.
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
        """The file's bytes. Raises ModelError(kind="manifest") for what JSON cannot hold, such as NaN."""
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
        """The reverse of `to_json`. Raises ModelError naming `file`, the key and what is allowed."""
        table = Table(decode_json(data, file), file)
        number = table.integer("format", least=1)
        if number != FORMAT:
            raise ModelError(
                f"{file}: the format is {number}; this version of Forebay reads format {FORMAT}",
                kind="format",
                remedy="upgrade Forebay here, or publish the model again with this version",
            )
        table.only(_KEYS)
        weights = table.table("weights")
        weights.only({"sha256", "bytes"})
        created_at = table.text("created_at")
        try:
            moment = datetime.fromisoformat(created_at)
        except ValueError:
            table.fail("created_at", created_at, "a time such as 2026-11-02T09:30:00+00:00")
        return cls(
            name=table.text("name"),
            version=table.integer("version", least=1),
            architecture=table.text("architecture"),
            params=table.mapping("params"),
            signature=Signature.read(table.table("signature")),
            preprocessing=Preprocessing.read(table.table("preprocessing")),
            weights_sha256=weights.text("sha256"),
            weights_bytes=weights.integer("bytes"),
            metrics=table.number_mapping("metrics"),
            created_at=moment,
            note=table.text("note"),
        )


def outline(architecture: str, params: Mapping[str, object]) -> Net:
    """The net without memory for weights, so that absurd parameters cost nothing. Raises like `build_net`."""
    with torch.device("meta"):
        return build_net(architecture, params)


def check_fit(net: Net, signature: Signature, preprocessing: Preprocessing, place: str) -> None:
    """Raise ModelError(kind="signature") unless signature, preprocessing and net fit together.

    `place` is what the message begins with: the manifest's path, or the model's name while it has none.
    """
    try:
        width, shape = prepared_width(signature, preprocessing), prepared_shape(signature, preprocessing)
    except ModelError as error:
        raise _unfit(place, error.message) from None
    if width != net.input_dim:
        raise _unfit(place, f"the preprocessing gives {width} columns, but {net.architecture} takes {net.input_dim}")
    if max(len(shape), len(net.input_shape)) > 1 and shape != net.input_shape:
        raise _unfit(
            place,
            f"rows are {list(shape)} in the signature, {list(net.input_shape)} in {net.architecture}",
        )
    if signature.output_dim != net.output_dim:
        raise _unfit(
            place,
            f"the signature states {signature.output_dim} outputs; {net.architecture} gives {net.output_dim}",
        )


def _unfit(place: str, problem: str) -> ModelError:
    return ModelError(
        f"{place}: {problem}",
        kind="signature",
        remedy="make signature, preprocessing and parameters fit together, and publish the model again",
    )
