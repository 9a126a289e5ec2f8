"""The backend `onnx`: graphs in ONNX files, run by ONNX Runtime after an inspection."""

from __future__ import annotations

from forebay.models.artefacts.artefact import Artefact
from forebay.models.artefacts.backend_files import ONNX_FILE
from forebay.models.artefacts.fit import ModelShape, check_fit
from forebay.models.artefacts.manifest import Manifest
from forebay.models.artefacts.preparation import prepared_shape
from forebay.models.backends.onnx.inspection import OnnxGraph, inspect
from forebay.models.backends.onnx.session import OnnxRunner, create_session, first_line, is_out_of_memory
from forebay.models.backends.precision import require_fp32
from forebay.models.backends.protocol import RunOptions
from forebay.schemas.errors import ModelError

OUTPUT_PARAM = "output"
"""The parameter that names the output to use, where the graph has several."""


class OnnxBackend:
    """Builds runners of ONNX graphs. Implements `Backend`."""

    def check(self, manifest: Manifest, place: str) -> None:
        """Raise ModelError unless the parameters are known. What the graph takes and returns is in its file."""
        for name, value in manifest.params.items():
            if name != OUTPUT_PARAM or not isinstance(value, str):
                raise ModelError(
                    f"{place}: params has {name[:80]!r}: {str(value)[:80]!r}; the backend onnx has only "
                    f"{OUTPUT_PARAM!r}, the name of an output",
                    kind="params",
                    remedy="publish the model again",
                )

    def build(self, artefact: Artefact, options: RunOptions) -> OnnxRunner:
        """Inspect the file, then create a session. Raises ModelError that names the file."""
        require_fp32(options, f"model {artefact.manifest.name} runs in ONNX Runtime")
        output = artefact.manifest.params.get(OUTPUT_PARAM)
        return build_runner(
            artefact.contents[ONNX_FILE],
            str(artefact.directory / ONNX_FILE),
            options,
            output=output if isinstance(output, str) else None,
            manifest=artefact.manifest,
        )


def build_runner(
    data: bytes, place: str, options: RunOptions, *, output: str | None = None, manifest: Manifest | None = None
) -> OnnxRunner:
    """Return the runner of an ONNX file, after its inspection.

    output: as in `inspect`.
    manifest: what the graph must fit; None to skip this.

    Raises ModelError that starts with `place`.
    """
    graph = inspect(data, place, output)
    if manifest is not None:
        _check_graph(graph, manifest, place)
    try:
        session, device = create_session(data, options)
    except ModelError:
        raise
    except Exception as error:
        problem, kind = first_line(error), "out_of_memory" if is_out_of_memory(error) else "onnx"
    else:
        return OnnxRunner(session, device, input_name=graph.input_name, output_name=graph.output_name)
    raise ModelError(
        f"{place}: ONNX Runtime refuses the model: {problem}",
        kind=kind,
        remedy="check the model with onnx.checker, or export it again",
    )


def _check_graph(graph: OnnxGraph, manifest: Manifest, place: str) -> None:
    """Raise ModelError unless the graph fits the signature. Sizes that the file leaves free are those of the signature."""
    signature = manifest.signature
    shape = prepared_shape(signature, manifest.preprocessing)
    if len(shape) == len(graph.input_shape):
        sizes = zip(graph.input_shape, shape, strict=True)
        taken = tuple(stated if free is None else free for free, stated in sizes)
    else:
        taken = tuple(1 if size is None else size for size in graph.input_shape)
    output_dim = signature.output_dim if graph.output_dim is None else graph.output_dim
    check_fit(ModelShape("the ONNX graph", taken, output_dim), signature, manifest.preprocessing, place)
