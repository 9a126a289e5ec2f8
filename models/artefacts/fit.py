"""Check that the signature, the preprocessing and a model's own input and output fit together."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from forebay.models.artefacts.preparation import prepared_shape, prepared_width
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.signature import Signature
from forebay.schemas.errors import ModelError


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What a model takes and returns for one row.

    what: names the model in messages, such as "mlp" or "the ONNX graph".
    input_shape: of a row after the preprocessing.
    output_dim: number of outputs.
    """

    what: str
    input_shape: tuple[int, ...]
    output_dim: int


def check_fit(model: ModelShape, signature: Signature, preprocessing: Preprocessing, place: str) -> None:
    """Raise ModelError(kind="signature") unless signature, preprocessing and model fit together.

    place: the start of the message: the manifest's path, or the model's name if it has no path yet.
    """
    try:
        width, shape = prepared_width(signature, preprocessing), prepared_shape(signature, preprocessing)
    except ModelError as error:
        raise _error(place, error.message) from None
    if width != prod(model.input_shape):
        raise _error(
            place, f"the preprocessing gives {width} columns, but {model.what} takes {prod(model.input_shape)}"
        )
    if max(len(shape), len(model.input_shape)) > 1 and shape != model.input_shape:
        raise _error(
            place,
            f"rows have the shape {list(shape)} in the signature, but {model.what} takes {list(model.input_shape)}",
        )
    if signature.output_dim != model.output_dim:
        raise _error(
            place, f"the signature states {signature.output_dim} outputs; {model.what} gives {model.output_dim}"
        )


def check_own_shape(signature: Signature, preprocessing: Preprocessing, place: str) -> None:
    """Raise ModelError(kind="signature") unless the preprocessing takes the signature's features.

    For models whose own input is known only to their code. place: as in `check_fit`.
    """
    try:
        prepared_width(signature, preprocessing)
    except ModelError as error:
        raise _error(place, error.message) from None


def _error(place: str, problem: str) -> ModelError:
    return ModelError(
        f"{place}: {problem}",
        kind="signature",
        remedy="correct the signature, the preprocessing or the parameters, and publish the model again",
    )
