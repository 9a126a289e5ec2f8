"""Export a torch net to an ONNX graph, which ONNX Runtime runs faster on a CPU."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Final

import numpy as np
import torch

from forebay.models.artefacts.backend_files import ONNX_FILE, WEIGHTS_FILE
from forebay.models.artefacts.golden import GoldenRows, Tolerance, check_finite
from forebay.models.artefacts.golden_drawing import draw_golden_rows
from forebay.models.artefacts.preparation import shaped_rows
from forebay.models.backends.onnx.backend import build_runner
from forebay.models.backends.protocol import RunOptions
from forebay.models.backends.torch.architectures import Net
from forebay.models.backends.torch.runner import TorchRunner
from forebay.models.backends.torch.validation import read_back_net
from forebay.models.registration.candidate import Candidate
from forebay.models.registration.hints import Hints
from forebay.schemas.errors import ModelError

MAX_DIFFERENCE: Final = 1e-4
"""The allowed difference between the exported graph and the net: of an output, and again of the largest output. Both compute in
float32, but sum in other orders."""

_TRACED_ROWS: Final = 3  # neither 0 nor 1, which torch.export takes for constants
_EXPORTER_LOGGERS: Final = ("torch.onnx", "torch.onnx._internal.exporter", "torch.export", "onnxscript")


def exported_candidate(original: Candidate, net: Net, hints: Hints) -> Candidate:
    """Return the candidate for the same net as an ONNX graph, which agrees with torch within `MAX_DIFFERENCE`.

    original: the candidate for torch.

    Raises ModelError: with kind "export" if the net cannot be exported, "onnx" if the graph may not be served, "golden" if it
    does not agree or an output of the net is not finite.
    """
    name, signature, preprocessing = hints.name, original.signature, original.preprocessing
    copy = read_back_net(name, net, original.files[WEIGHTS_FILE])
    torch_runner = TorchRunner(copy, torch.device("cpu"))
    data = export_net(name, copy)
    rows_RW = draw_golden_rows(name, signature, preprocessing, hints.golden_rows)
    x = shaped_rows(signature, preprocessing, rows_RW)
    golden_RO = torch_runner.run(x)
    check_finite(name, golden_RO)
    allowed = Tolerance(MAX_DIFFERENCE, MAX_DIFFERENCE * float(np.abs(golden_RO).max()))
    found_RO = build_runner(data, f"model {name!r}", RunOptions()).run(x)
    GoldenRows(rows_RW, golden_RO, allowed).check(found_RO, f"model {name!r}: exported to ONNX, compared with torch")
    return Candidate(
        "onnx",
        files={ONNX_FILE: data},
        signature=signature,
        preprocessing=preprocessing,
        outputs=original.outputs,
        expected=lambda rows_RW: torch_runner.run(shaped_rows(signature, preprocessing, rows_RW)),
    )


def export_net(name: str, net: Net) -> bytes:
    """Return a net, in evaluation mode, as an ONNX file with a free number of rows. Raises ModelError(kind="export")."""
    rows = torch.zeros(_TRACED_ROWS, *net.input_shape)
    try:
        with _quiet():
            program = torch.onnx.export(
                net,
                (rows,),
                input_names=["rows"],
                output_names=["outputs"],
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                external_data=False,
                verbose=False,
            )
            assert program is not None, "the exporter returns a program"
            data: bytes = program.model_proto.SerializeToString()
    except ModuleNotFoundError as error:
        problem, remedy = f"the package {error.name} is missing", "install forebay[registration]"
    except Exception as error:  # the exporter raises exceptions of many libraries
        first_line = str(error).strip().partition("\n")[0]
        problem, remedy = f"torch.onnx.export: {type(error).__name__}: {first_line}", "publish it for torch"
    else:
        return data
    raise ModelError(f"model {name!r} cannot be exported to ONNX: {problem}", kind="export", remedy=remedy)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's warnings and logs about itself: what counts is whether the graph agrees."""
    loggers = [logging.getLogger(name) for name in _EXPORTER_LOGGERS]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)
