"""Read an ONNX file into a candidate, with the signature that its graph states."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, Final, cast

from forebay.models.artefacts.backend_files import MAX_ONNX_BYTES, ONNX_FILE
from forebay.models.artefacts.manifest import OutputKind
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.signature import Signature, Task
from forebay.models.artefacts.storage import read_bounded
from forebay.models.backends.onnx.backend import OUTPUT_PARAM
from forebay.models.backends.onnx.inspection import OnnxGraph, describe, inspect, is_usable_output
from forebay.models.backends.onnx.proto import Node, OnnxModel, parse_model
from forebay.models.backends.onnx.wire import WireError
from forebay.models.registration.candidate import Candidate
from forebay.models.registration.hints import Hints
from forebay.schemas.errors import ModelError

_WITHOUT_ZIPMAP: Final = "convert the classifier again with options={id(model): {'zipmap': False}}"
_SERVABLE: Final = "export the model with an output of float32 [N, outputs], with a cast or a reshape if necessary"
# Operators that keep the rows' values apart from their form, so that what is before them decides.
_TRANSPARENT: Final = frozenset({"Cast", "Flatten", "Identity", "Reshape", "Squeeze"})
_CLASSIFIERS: Final = frozenset({"LinearClassifier", "SVMClassifier", "TreeEnsembleClassifier"})


def read_onnx(model: object, hints: Hints) -> Candidate:
    """Return the candidate for an ONNX file: its path or its bytes.

    The file states the input's shape and the number of outputs. It does not state the features' names, nor, unless it ends in a
    classifier, Softmax or Sigmoid, the task; these come from the hints. So does the output to serve, unless only one can be.

    Raises ModelError for what may not be served or is not stated, and says how to convert or state it.
    """
    data, place = _read(model, hints)
    name = _choose_output(data, place, hints.output)
    graph = inspect(data, place, name)
    signature, outputs = _signature(graph, hints, place)
    return Candidate(
        "onnx",
        files={ONNX_FILE: data},
        signature=signature,
        preprocessing=hints.preprocessing or Preprocessing.identity(),
        outputs=outputs,
        params={OUTPUT_PARAM: graph.output_name} if len(graph.output_names) > 1 else {},
    )


def _read(model: object, hints: Hints) -> tuple[bytes, str]:
    if isinstance(model, bytes):
        return model, f"model {hints.name!r}"
    if isinstance(model, str | Path):
        file = Path(model)
        return read_bounded(file.parent, file, MAX_ONNX_BYTES, hints.on_progress), str(file)
    raise ModelError(
        f"model {hints.name!r}: this is a {type(model).__name__}; an ONNX model is a path or bytes",
        kind="onnx",
        remedy="give the path of the .onnx file",
    )


def _choose_output(data: bytes, place: str, stated: str | None) -> str:
    try:
        outputs = parse_model(data).outputs
    except WireError as error:
        raise _error(f"{place}: this cannot be read as an ONNX file: {error}", "export the model again") from None
    usable = [info for info in outputs if is_usable_output(info)]
    found = "; ".join(describe(info) for info in outputs[:10])
    if stated is not None:
        if stated not in (info.name for info in usable):
            raise _error(
                f"{place}: the output {stated[:80]!r} cannot be served; the outputs are {found}",
                f"choose {', '.join(info.name for info in usable[:10])}" if usable else _SERVABLE,
            )
        return stated
    if len(usable) == 1:
        return usable[0].name
    if any(info.kind in ("sequence", "map") for info in outputs):
        raise _error(
            f"{place}: the outputs are {found}; a list of dictionaries (ZipMap) cannot be served", _WITHOUT_ZIPMAP
        )
    if usable:
        raise _error(
            f"{place}: several outputs can be served: {found}",
            f"name one: output={usable[0].name!r} in Python, --output {usable[0].name} on the command line",
        )
    raise _error(f"{place}: the outputs are {found}; allowed is a tensor of float32 [N, outputs]", _SERVABLE)


def _signature(graph: OnnxGraph, hints: Hints, place: str) -> tuple[Signature, OutputKind]:
    last = _origin(graph.model, graph.output_name)
    op_type = "" if last is None else last.op_type
    stated = hints.signature
    output_dim = graph.output_dim or (None if stated is None else stated.output_dim)
    if output_dim is None or (None in graph.input_shape and stated is None and not _is_known(graph, hints)):
        raise _error(
            f"{place}: the graph does not state the number of its {'outputs' if output_dim is None else 'features'}",
            "give a signature, or export the model with fixed sizes except for the number of rows",
        )
    task = _task(op_type, output_dim, hints, place)
    outputs = hints.outputs or _outputs(last, task)
    shape = _shape(graph, hints)
    labels = hints.labels or _labels(last, output_dim)
    if len(shape) > 1 and stated is None:
        return Signature(hints.features, shape, task, output_dim, labels=labels), outputs
    if stated is not None:
        return stated, outputs
    width = prod(shape)
    return (
        replace(hints, task=task).complete_signature(
            task=task, output_dim=output_dim, num_features=width, labels=labels
        ),
        outputs,
    )


def _is_known(graph: OnnxGraph, hints: Hints) -> bool:
    return len(graph.input_shape) == 1 and bool(hints.features)


def _shape(graph: OnnxGraph, hints: Hints) -> tuple[int, ...]:
    if None not in graph.input_shape:
        return cast("tuple[int, ...]", graph.input_shape)
    return hints.signature.shape if hints.signature is not None else (len(hints.features),)


def _task(op_type: str, output_dim: int, hints: Hints, place: str) -> Task:
    if hints.signature is not None:
        return hints.signature.task
    if hints.task is not None:
        # A classifier that gives the probabilities of both classes is one of two classes.
        return "multiclass" if hints.task == "binary" and output_dim == 2 else hints.task
    if op_type in _CLASSIFIERS or op_type == "Softmax":
        return "multiclass"
    if op_type == "Sigmoid" and output_dim == 1:
        return "binary"
    if op_type.endswith("Regressor"):
        return "regression"
    raise _error(
        f"{place}: the graph ends in {op_type or 'its input'}, which does not state the task",
        "state the task: regression, binary or multiclass",
    )


def _outputs(last: Node | None, task: Task) -> OutputKind:
    if task == "regression":
        return "values"
    op_type = "" if last is None else last.op_type
    return "probabilities" if op_type in (*_CLASSIFIERS, "Normalizer", "Softmax", "Sigmoid") else "logits"


def _origin(model: OnnxModel, name: str) -> Node | None:
    """Return the node that computes a value, before changes of its form; None for an input or a constant."""
    producers = {value: node for node in model.nodes for value in node.outputs}
    node = producers.get(name)
    for _ in model.nodes:
        if node is None or not node.inputs:
            return node
        before = producers.get(node.inputs[0])
        is_scaled = node.op_type == "Normalizer" and before is not None and before.op_type in _CLASSIFIERS
        if node.op_type not in _TRANSPARENT and not is_scaled:
            return node
        node = before
    return None


def _labels(last: Node | None, output_dim: int) -> tuple[str, ...]:
    """Return the names of a classifier's classes, if there is one for each output."""
    attributes: Any = {} if last is None else last.attributes
    texts = attributes.get("classlabels_strings", {}).get("strings", ())
    numbers = attributes.get("classlabels_ints", attributes.get("classlabels_int64s", {})).get("ints", ())
    labels = tuple(bytes(text).decode("utf-8", "replace") for text in texts) or tuple(str(number) for number in numbers)
    return labels if len(labels) == output_dim and len(set(labels)) == len(labels) else ()


def _error(message: str, remedy: str) -> ModelError:
    return ModelError(message, kind="onnx", remedy=remedy)
