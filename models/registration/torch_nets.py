"""Read nets of the built-in architectures."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from forebay.models.artefacts.backend_files import MAX_WEIGHTS_BYTES, WEIGHTS_FILE
from forebay.models.artefacts.fit import check_fit
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.backends.torch.architectures import Net, model_shape
from forebay.models.backends.torch.validation import check_net
from forebay.models.backends.torch.weights import dump_weights
from forebay.models.registration.candidate import Candidate, ConversionNote
from forebay.models.registration.hints import Hints
from forebay.models.registration.torch_export import exported_candidate
from forebay.schemas.errors import ModelError

# Kinds of errors that concern only the export.
_ONLY_EXPORT: Final = frozenset({"export", "golden", "onnx"})


def read_net(net: object, hints: Hints) -> Candidate:
    """Return the candidate of a net that `forebay.build_net` made: for ONNX Runtime, if its export agrees with torch.

    If not, it is for torch, and a note says why. `hints.backend` chooses one of the two.

    Raises ModelError for other objects, and if it does not fit the hints: the net knows only the number of its inputs.
    """
    check_net(hints.name, net)
    assert isinstance(net, Net)
    shape = model_shape(net)
    signature = hints.stated_signature(shape.output_dim)
    preprocessing = Preprocessing.identity() if hints.preprocessing is None else hints.preprocessing
    check_fit(shape, signature, preprocessing, f"model {hints.name!r}")
    candidate = Candidate(
        "torch",
        files={WEIGHTS_FILE: dump_weights(hints.name, net, MAX_WEIGHTS_BYTES)},
        signature=signature,
        preprocessing=preprocessing,
        outputs=hints.outputs,
        params=net.params,
        architecture=net.architecture,
    )
    if hints.backend == "torch":
        return candidate
    try:
        return exported_candidate(candidate, net, hints)
    except ModelError as error:
        if hints.backend is not None or error.kind not in _ONLY_EXPORT:
            raise
        note = ConversionNote("net", "frozen", f"served by torch instead of ONNX Runtime: {error.message}")
        return replace(candidate, notes=(note,))
