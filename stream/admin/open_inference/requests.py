"""Requests of the Open Inference Protocol as events for the stream's decoder, and predictions as their tensors. Pure.

Shapes: N rows, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from forebay.models.artefacts.signature import Signature
from forebay.schemas import headers as names
from forebay.schemas.failures import FailureKind
from forebay.stream.admin.open_inference.metadata import INPUT, output_tensors
from forebay.stream.admin.open_inference.tensors import (
    DATATYPES,
    Tensor,
    binary_entry,
    divide_body,
    json_entry,
    read_tensor,
)
from forebay.stream.admin.predict_requests import PredictRequest, RequestError, RequestRecord, status_of
from forebay.stream.admin.served_model import ServedModel
from forebay.stream.admin.time_slices import TimeSlices

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
_NO_CLASS: Final = -1
_KINDS: Final = frozenset(FailureKind)


class TensorRequest:
    """One request of the protocol for a model: reads its events, and writes its response.

    header_length: of the response, in bytes, once there is one with binary data.
    """

    def __init__(self, served: ServedModel) -> None:
        self._served = served
        self._id: str | None = None
        self._outputs: list[tuple[str, bool]] = []
        self.header_length: int | None = None

    def read(
        self, body: bytes, headers: Mapping[str, str], time_slices: TimeSlices, *, now_ms: int, max_events: int
    ) -> PredictRequest:
        """Return an event for each row. Raise RequestError if the tensors do not fit the model."""
        document, binary = divide_body(body, headers.get(HEADER_LENGTH))
        request_id = document.get("id")
        self._id = request_id if isinstance(request_id, str) else None
        self._outputs = self._requested(document)
        tensors = _tensors(document.get("inputs"), binary)
        limit = min(max_events, self._served.max_batch_size)
        inputs = _rows(tensors, self._served.signature, limit)
        record_headers = ((names.MODEL, self._served.ref.name.encode()),)
        records = [
            RequestRecord(
                index,
                now_ms,
                None,
                orjson.dumps({"id": str(index), "timestamp": now_ms, "input": row}),
                headers=record_headers,
            )
            for index, row in enumerate(time_slices.items(inputs))
        ]
        return PredictRequest(tuple(records), True)

    def _requested(self, document: dict[str, Any]) -> list[tuple[str, bool]]:
        """Return the names of the outputs to return, and whether each is binary. Raise RequestError for others."""
        parameters = document.get("parameters")
        all_binary = isinstance(parameters, dict) and parameters.get("binary_data_output") is True
        known = [output["name"] for output in output_tensors(self._served.signature)]
        wanted = document.get("outputs") or [{"name": name} for name in known]
        found: list[tuple[str, bool]] = []
        for entry in wanted if isinstance(wanted, list) else ():
            name = entry.get("name") if isinstance(entry, dict) else None
            if not isinstance(name, str) or name not in known:
                raise RequestError(
                    FailureKind.INVALID_PAYLOAD,
                    f"there is no output {str(name)[:80]!r}; choose from {', '.join(known)}",
                )
            if any(name == other for other, _ in found):
                raise RequestError(FailureKind.INVALID_PAYLOAD, f"the output {name!r} is asked for twice")
            options = entry.get("parameters")
            options = options if isinstance(options, dict) else {}
            if options.get("classification"):
                raise RequestError(
                    FailureKind.INVALID_PAYLOAD,
                    "the parameter classification is not supported; ask for class, label and confidence",
                )
            found.append((name, options.get("binary_data", all_binary) is True))
        if not found:
            raise RequestError(FailureKind.INVALID_PAYLOAD, "outputs is not a list")
        return found

    def finish(self, status: int, document: Any) -> tuple[int, bytes]:
        """Return the HTTP status and the body for the answer to `/predict` with the same events."""
        entries = document if isinstance(document, list) else [document]
        for row, entry in enumerate(entries):
            if "error" in entry:
                error = entry["error"]
                place = f"row {row}: " if isinstance(document, list) else ""
                kind = error["kind"]
                code = status_of(FailureKind(kind)) if kind in _KINDS else status
                return code, encode_error(f"{place}{error['message']}")
        tensors = {tensor.name: tensor for tensor in _outputs(entries, self._served.signature)}
        return status, self._encode([(tensors[name], binary) for name, binary in self._outputs])

    def _encode(self, outputs: Sequence[tuple[Tensor, bool]]) -> bytes:
        ref = self._served.ref
        response: dict[str, Any] = {"model_name": ref.name, "model_version": str(ref.version)}
        if self._id is not None:
            response["id"] = self._id
        entries, binary = [], []
        for tensor, is_binary in outputs:
            if is_binary:
                entry, data = binary_entry(tensor)
                binary.append(data)
            else:
                entry = json_entry(tensor)
            entries.append(entry)
        header = orjson.dumps(response | {"outputs": entries})
        if binary:
            self.header_length = len(header)
        return b"".join((header, *binary))


def encode_error(message: str) -> bytes:
    """Return an error as the protocol has it."""
    return orjson.dumps({"error": message}, option=orjson.OPT_APPEND_NEWLINE)


def _tensors(inputs: Any, binary: memoryview) -> list[Tensor]:
    if not isinstance(inputs, list) or not inputs:
        raise RequestError(FailureKind.INVALID_PAYLOAD, "inputs is not a list of tensors")
    tensors = []
    for entry in inputs:
        tensor, num_bytes = read_tensor(entry, binary)
        binary = binary[num_bytes:]
        tensors.append(tensor)
    if len(binary):
        raise RequestError(FailureKind.WRONG_LENGTH, f"{len(binary)} bytes of binary data are of no input")
    if len({tensor.name for tensor in tensors}) < len(tensors):
        raise RequestError(FailureKind.INVALID_PAYLOAD, "two inputs have the same name")
    return tensors


def _rows(tensors: Sequence[Tensor], signature: Signature, max_events: int) -> list[Any]:
    """Return the field `input` of each event. Raise RequestError if there are none, or too many."""
    lengths = {tensor.values.shape[0] for tensor in tensors}
    if len(lengths) > 1:
        raise RequestError(
            FailureKind.WRONG_LENGTH,
            f"the inputs have {' and '.join(map(str, sorted(lengths)))} rows, not as many each",
        )
    (count,) = lengths
    if not count:
        raise RequestError(FailureKind.EMPTY_VALUE, "the inputs have no row")
    if count > max_events:
        raise RequestError(
            FailureKind.TOO_LARGE, f"{count} rows; batch.max_batch_size allows {max_events} in one request"
        )
    feature_names = [feature.name for feature in signature.features]
    if len(tensors) == 1 and tensors[0].name not in feature_names:
        return _whole_rows(tensors[0], signature, count)
    return _rows_of_features(tensors, signature, feature_names, count=count)


def _whole_rows(tensor: Tensor, signature: Signature, count: int) -> list[Any]:
    """Return rows that are in one tensor, whatever its name."""
    if tensor.values.size != count * signature.num_features:
        names_of = ", ".join(feature.name for feature in signature.features[:20])
        named = f", or an input for each feature: {names_of}" if names_of else ""
        raise RequestError(
            FailureKind.WRONG_LENGTH,
            f"input {tensor.name[:80]!r} has shape {list(tensor.values.shape)}; "
            f"the model takes {[-1, *signature.shape]}{named}",
        )
    rows: list[Any] = _json_values(tensor).reshape(count, *signature.shape).tolist()
    return rows


def _rows_of_features(
    tensors: Sequence[Tensor], signature: Signature, feature_names: Sequence[str], *, count: int
) -> list[Any]:
    """Return rows whose features are tensors of their own. Those that may be missing need not be there."""
    by_name = {tensor.name: tensor for tensor in tensors}
    unknown = next((name for name in by_name if name not in feature_names), None)
    if unknown is not None:
        expected = ", ".join(feature_names[:20]) or INPUT
        raise RequestError(
            FailureKind.INVALID_PAYLOAD, f"there is no input {unknown[:80]!r}; the model takes {expected}"
        )
    columns: list[list[Any]] = []
    for feature in signature.features:
        tensor = by_name.get(feature.name)
        if tensor is None:
            if not feature.nullable:
                raise RequestError(FailureKind.MISSING_FIELD, f"the input {feature.name!r} is missing")
            columns.append([None] * count)
            continue
        if tensor.values.size != count:
            raise RequestError(
                FailureKind.WRONG_LENGTH,
                f"input {feature.name!r} has shape {list(tensor.values.shape)}; a feature has [{count}, 1]",
            )
        columns.append(_json_values(tensor).ravel().tolist())
    return [list(row) for row in zip(*columns, strict=True)]


def _json_values(tensor: Tensor) -> NDArray[Any]:
    """Return values that JSON can hold: NaN, which stands for a missing value, becomes null."""
    values = tensor.values
    if not tensor.datatype.startswith("FP"):
        return values
    if np.isinf(values).any():
        raise RequestError(FailureKind.NOT_FINITE, f"input {tensor.name[:80]!r} has an infinite value")
    missing = np.isnan(values)
    if not missing.any():
        return values
    objects = values.astype(object)
    objects[missing] = None
    return objects


def _outputs(entries: Sequence[Mapping[str, Any]], signature: Signature) -> list[Tensor]:
    """Return the outputs of rows as tensors. An abstained prediction has class -1 and the label ''."""
    prediction_NO = np.array([entry["prediction"] for entry in entries], dtype=np.float32)
    columns: dict[str, NDArray[Any]] = {"prediction": prediction_NO.reshape(len(entries), signature.output_dim)}
    if signature.num_classes:
        columns["confidence"] = np.array([entry["confidence"] for entry in entries], dtype=np.float32)
        classes = [entry["class"] for entry in entries]
        columns["class"] = np.array([_NO_CLASS if one is None else one for one in classes], dtype=np.int64)
    if signature.labels:
        labels = np.empty(len(entries), dtype=object)
        labels[:] = [entry["label"] or "" for entry in entries]
        columns["label"] = labels
    return [
        Tensor(output["name"], output["datatype"], columns[output["name"]].astype(DATATYPES[output["datatype"]]))
        for output in output_tensors(signature)
    ]
