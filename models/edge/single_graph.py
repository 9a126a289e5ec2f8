"""One ONNX file for a version: from the rows of events to the scores, with the preprocessing and the calibration inside.

Shapes: B rows, F features, O outputs.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, compose, helper, version_converter

from forebay.models.artefacts.artefact import Artefact
from forebay.models.artefacts.backend_files import ONNX_FILE, TREES_FILE
from forebay.models.artefacts.manifest import Manifest
from forebay.models.artefacts.preparation import prepared_shape
from forebay.models.artefacts.repository import MANIFEST_FILE
from forebay.models.backends.onnx.backend import OUTPUT_PARAM
from forebay.models.backends.onnx.inspection import inspect
from forebay.models.backends.trees.ensemble import TreeEnsemble
from forebay.models.backends.trees.rules import EnsembleRules
from forebay.models.edge.graph_writer import ML_DOMAIN, GraphWriter
from forebay.models.edge.preprocessing_nodes import write_step
from forebay.models.edge.score_nodes import write_scores
from forebay.models.edge.tree_nodes import write_trees
from forebay.schemas.errors import ModelError

INPUT: Final = "rows"
OUTPUTS: Final = "outputs"
SCORES: Final = "scores"

_MODEL: Final = "model/"
_OPSET: Final = 21
_OLDEST_OPSET: Final = 13
"""From here on, the operators around the model have the inputs that are written here."""
_IR_VERSION: Final = 10
_ML_OPSET: Final = 5


def single_graph(artefact: Artefact) -> bytes:
    """Return the ONNX file of a version.

    Its input `rows` is float32 [B, F] as events give them; NaN is a missing value. Its outputs are `outputs`, what the model
    returns, and `scores`, what a worker publishes, both float32 [B, O]. Rows that the preparation rejects have NaN in both.

    Raises ModelError: with kind "edge" for what ONNX cannot hold, or that of the backend.
    """
    manifest = artefact.manifest
    check_exportable(manifest)
    model = _model_of(artefact)
    before, after = GraphWriter("before/"), GraphWriter("after/")
    rejected: list[str] = []
    x = INPUT
    for step in manifest.preprocessing.steps:
        x = write_step(before, step, x, rejected)
    shape = prepared_shape(manifest.signature, manifest.preprocessing)
    if len(shape) > 1:
        x = before.add("Reshape", x, before.constant([-1, *shape], np.int64))
    if model is None:
        out_BO = write_trees(before, _ensemble(artefact), x, str(artefact.directory / TREES_FILE))
    else:
        before.alias(x, model.graph.input[0].name)
        out_BO = _output_name(manifest, model)
    for mask_B1 in rejected:
        out_BO = after.add("Where", mask_B1, after.constant(math.nan, np.float32), out_BO)
    after.alias(out_BO, OUTPUTS)
    after.alias(write_scores(after, manifest, OUTPUTS), SCORES)
    return _assembled(manifest, before, model, after)


def check_exportable(manifest: Manifest) -> None:
    """Raise ModelError(kind="edge") for a version whose rows are made by a worker, or whose backend runs code."""
    if manifest.signature.window is not None:
        raise _error(manifest, "its rows are made from windows of events", "serve this model with a worker")
    if manifest.backend not in ("onnx", "torch", "trees"):
        raise _error(
            manifest,
            f"the backend {manifest.backend} runs code that comes with the model",
            "export the model to ONNX and register that (`forebay models register model.onnx`)",
        )
    hashed = [feature.name for feature in manifest.signature.features if feature.dtype == "hashed"]
    if hashed:
        raise _error(
            manifest,
            f"the feature {hashed[0]!r} is hashed, which needs the package xxhash",
            "train with categories instead, or serve this model with a worker",
        )


def _model_of(artefact: Artefact) -> ModelProto | None:
    """Return the ONNX graph of the model itself, with names of its own; None for trees."""
    manifest = artefact.manifest
    if manifest.backend == "trees":
        return None
    if manifest.backend == "onnx":
        data = artefact.contents[ONNX_FILE]
        inspect(data, str(artefact.directory / ONNX_FILE), _output_param(manifest))
    else:
        # Imported late: it imports torch.
        from forebay.models.backends.torch.backend import load_net
        from forebay.models.registration.torch_export import export_net

        data = export_net(manifest.name, load_net(artefact))
    model = onnx.load_model_from_string(data)
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < _OLDEST_OPSET:
        try:
            model = version_converter.convert_version(model, _OLDEST_OPSET)
        except Exception as error:  # of the C++ library
            reason = str(error).strip().partition("\n")[0][:200]
            raise _error(
                manifest,
                f"its graph of opset {opset} cannot be converted to {_OLDEST_OPSET}: {reason}",
                "export it again",
            ) from error
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [info for info in model.graph.input if info.name not in constants]  # older files list both
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    return compose.add_prefix(model, _MODEL)


def _output_param(manifest: Manifest) -> str | None:
    output = manifest.params.get(OUTPUT_PARAM)
    return output if manifest.backend == "onnx" and isinstance(output, str) else None


def _output_name(manifest: Manifest, model: ModelProto) -> str:
    name = _output_param(manifest)
    return model.graph.output[0].name if name is None else _MODEL + name


def _ensemble(artefact: Artefact) -> TreeEnsemble:
    rules = EnsembleRules.from_params(artefact.manifest.params, str(artefact.directory / MANIFEST_FILE))
    return TreeEnsemble.read(artefact.contents[TREES_FILE], rules, str(artefact.directory / TREES_FILE))


def _assembled(manifest: Manifest, before: GraphWriter, model: ModelProto | None, after: GraphWriter) -> bytes:
    """Return the whole file."""
    signature = manifest.signature
    width, output_dim = signature.num_features, signature.output_dim
    own_nodes = [] if model is None else list(model.graph.node)
    own_constants = [] if model is None else list(model.graph.initializer)
    graph = helper.make_graph(
        [*before.nodes, *own_nodes, *after.nodes],
        manifest.name,
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["B", width])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", output_dim]) for name in (OUTPUTS, SCORES)],
        initializer=[*before.constants, *own_constants, *after.constants],
    )
    opsets = {"": _OPSET} if model is None else {_domain(entry.domain): entry.version for entry in model.opset_import}
    if model is None:
        opsets[ML_DOMAIN] = _ML_OPSET
    model_file = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in opsets.items()],
        ir_version=_IR_VERSION if model is None else max(model.ir_version, 8),
        producer_name="forebay",
        model_version=manifest.version,
    )
    return bytes(model_file.SerializeToString())


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def _error(manifest: Manifest, problem: str, remedy: str) -> ModelError:
    return ModelError(
        f"{manifest.name}@{manifest.version} cannot be exported for the edge: {problem}", kind="edge", remedy=remedy
    )
