"""Quantise ONNX graphs with the tools of ONNX Runtime: static int8 with calibration rows, dynamic int8, and weights of 4 bits.

They need the package `onnx` (the extra `registration`).
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.backends.onnx.operators import ML_DOMAIN
from forebay.schemas.errors import ConfigError, ModelError

CALIBRATION_ROWS: Final = 1_024
_BATCH: Final = 128
_KNOWN_DOMAINS: Final = ("", "ai.onnx", ML_DOMAIN)


def quantise_static(data: bytes, rows: FloatArray) -> bytes:
    """Return the graph with weights and values as int8: QDQ nodes, a scale for each channel, ranges from calibration rows.

    Integers of weights have 7 bits: with 8, processors without the VNNI instructions saturate sums of products, so that the
    same file would predict differently there.

    rows: [N, *row shape], as the graph takes them.

    Raises ModelError if the tool refuses the graph or finds nothing to quantise.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    def run(source: Path, target: Path) -> None:
        quantize_static(
            str(source),
            str(target),
            _CalibrationRows(_input_name(source), rows),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )

    return _quantised(data, run, "static int8", "QuantizeLinear")


def quantise_dynamic(data: bytes) -> bytes:
    """Return the graph with int8 weights and values whose scale is found again in each call, one for a tensor.

    It suits large matrices in small batches. A convolution becomes ConvInteger with one scale for all channels, which can be
    far wrong: only a measurement shows it. Raises like `quantise_static`.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    def run(source: Path, target: Path) -> None:
        quantize_dynamic(
            str(source), str(target), weight_type=QuantType.QInt8 if _has_only_matrices(source) else QuantType.QUInt8
        )

    return _quantised(data, run, "dynamic int8", "DynamicQuantizeLinear")


class _CalibrationRows:
    """Yields batches of rows, in the form that the calibration takes."""

    def __init__(self, name: str, rows: FloatArray) -> None:
        self._batches = self._read(name, rows)

    @staticmethod
    def _read(name: str, rows: FloatArray) -> Iterator[Mapping[str, FloatArray]]:
        for start in range(0, len(rows), _BATCH):
            yield {name: np.ascontiguousarray(rows[start : start + _BATCH])}

    def get_next(self) -> Mapping[str, FloatArray] | None:
        """Return the next batch; None after the last."""
        return next(self._batches, None)

    def __iter__(self) -> _CalibrationRows:
        return self

    def __next__(self) -> Mapping[str, FloatArray]:
        return next(self._batches)


def _quantised(data: bytes, run: Any, what: str, operator: str) -> bytes:
    onnx = _package()
    with tempfile.TemporaryDirectory(prefix="forebay-quantise-") as folder, _quiet():
        source, target = Path(folder, "model.onnx"), Path(folder, "quantised.onnx")
        source.write_bytes(data)
        try:
            run(source, target)
            model = onnx.load(str(target))
        except Exception as error:  # of many kinds, for operators and shapes that the tool does not know
            reason = str(error).strip().partition("\n")[0][:300] or type(error).__name__
        else:
            return _cleaned(model, what, operator)
    raise ModelError(
        f"{what}: ONNX Runtime's quantisation refuses the graph: {reason}",
        kind="compression",
        remedy="choose another method, or export the model with standard operators",
    )


def _cleaned(model: Any, what: str, operator: str) -> bytes:
    """Return the file without domains that no node uses. Raises ModelError if nothing was quantised, or a node is foreign."""
    used = {node.domain for node in model.graph.node}
    foreign = sorted({node.op_type for node in model.graph.node if node.domain not in _KNOWN_DOMAINS})
    if foreign:
        raise ModelError(
            f"{what}: the quantised graph has {', '.join(foreign[:5])}, which only ONNX Runtime has",
            kind="compression",
            remedy="choose another method: a served graph has operators of ONNX only",
        )
    if not any(node.op_type == operator for node in model.graph.node):
        raise ModelError(
            f"{what}: there is nothing to quantise: the graph has no large product or convolution",
            kind="compression",
            remedy="choose another method",
        )
    kept = [entry for entry in model.opset_import if entry.domain in used or entry.domain == ""]
    copies = [(entry.domain, entry.version) for entry in kept]
    del model.opset_import[:]
    for domain, version in copies:
        model.opset_import.add(domain=domain, version=version)
    del model.graph.quantization_annotation[:]
    data: bytes = model.SerializeToString()
    return data


def _input_name(file: Path) -> str:
    model = _package().load(str(file))
    constants = {tensor.name for tensor in model.graph.initializer}
    return str(next(info.name for info in model.graph.input if info.name not in constants))


def _has_only_matrices(file: Path) -> bool:
    # ConvInteger of ONNX Runtime takes unsigned weights only.
    return not any(node.op_type == "Conv" for node in _package().load(str(file)).graph.node)


def _package() -> Any:
    try:
        import onnx
    except ModuleNotFoundError:
        raise ConfigError(
            "quantisation needs the package onnx, which is not installed",
            kind="compression_missing",
            remedy="pip install 'forebay[registration]'",
        ) from None
    return onnx


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the advice of the tool to run its own preparation, which these graphs do not need."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)
