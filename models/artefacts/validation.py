"""Check that a model can be saved: every argument has a type that is stored, and everything reads back unchanged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import numpy as np
import torch
from torch import nn

from forebay.models.artefacts.architectures import ARCHITECTURES, Net, outline
from forebay.models.artefacts.argument_checks import describe, number, text
from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.manifest import Manifest
from forebay.models.artefacts.preprocessing import Impute, OneHot, Preprocessing, Standardise
from forebay.models.artefacts.signature import Signature
from forebay.models.artefacts.weights import load_weights
from forebay.schemas.errors import ModelError

# Tolerances between outputs on the CPU and on another device, which computes in another order or with fewer bits.
_RELATIVE, _ABSOLUTE = 1e-2, 1e-4
_VERSION_DIGITS: Final = 16  # the final version number may have more digits
_STORABLE: Final = "give what the message allows: an artefact holds nothing else"
_NO_CODE: Final = "make the net with forebay.build_net and leave its code as it is: an artefact holds no code"


def check_arguments(
    name: str, net: object, *, signature: object, preprocessing: object, metrics: object, created_at: object
) -> None:
    """Raise ModelError for the first argument that an artefact cannot hold."""
    _check_net(name, net)
    if not isinstance(signature, Signature):
        raise _error(
            f"model {name!r}: signature is {describe(signature)}",
            "signature",
            "give a forebay.Signature, which names the features one by one",
        )
    _check_preprocessing(name, preprocessing)
    if not isinstance(metrics, Mapping):
        raise _wrong_metric(f"model {name!r}: metrics is {describe(metrics)}")
    for key, value in metrics.items():
        text(key, f"model {name!r}: a metric's name", _wrong_metric)
        if not math.isfinite(number(value, f"model {name!r}: metric {key}", _wrong_metric)):
            raise _wrong_metric(f"model {name!r}: metric {key} is {value}")
    if not isinstance(created_at, datetime) or created_at.utcoffset() is None:
        what = "has no time zone" if isinstance(created_at, datetime) else f"is {describe(created_at)}"
        raise _error(f"model {name!r}: created_at {what}", "manifest", "give a time such as datetime.now(UTC)")


def read_back_net(name: str, net: Net, weights: bytes) -> Net:
    """Return the net as it would be loaded. Raises ModelError unless it gives the same outputs."""
    place = f"model {name!r}"
    try:
        loaded = load_weights(outline(net.architecture, net.params), weights, place)
    except ModelError as error:
        raise ModelError(error.message, kind=error.kind, remedy=_STORABLE) from None
    x = torch.linspace(-1, 1, loaded.input_dim).view(1, *loaded.input_shape)
    outputs, loaded_outputs = _outputs(place, net, x), _outputs(place, loaded, x)
    if outputs.shape != loaded_outputs.shape or not torch.allclose(
        outputs, loaded_outputs, rtol=_RELATIVE, atol=_ABSOLUTE, equal_nan=True
    ):
        raise _error(
            f"{place}: the net's outputs differ from those of a new {net.architecture} with its weights",
            "weights",
            _NO_CODE,
        )
    return loaded


def golden_outputs(name: str, net: Net, x_RG: FloatArray) -> FloatArray:
    """Return the outputs [R, O] of a loaded net for prepared golden rows. Raises ModelError if one is not finite."""
    with torch.inference_mode():
        outputs_RO: FloatArray = net(torch.from_numpy(x_RG).view(-1, *net.input_shape)).numpy()
    is_wrong_RO = ~np.isfinite(outputs_RO)
    if is_wrong_RO.any():
        row, column = (int(index) for index in np.argwhere(is_wrong_RO)[0])
        raise _error(
            f"model {name!r}: output {column} for golden row {row} is {outputs_RO[row, column]}; allowed are finite outputs",
            "golden",
            "train again with a lower learning rate or scaled features, or give training rows as golden_rows",
        )
    return outputs_RO


def check_manifest_reads_back(manifest: Manifest, *, max_bytes: int) -> None:
    """Raise ModelError unless the manifest would be read back unchanged."""
    place = f"model {manifest.name!r}"
    stored = manifest.to_json()
    if len(stored) > max_bytes - _VERSION_DIGITS:
        raise _error(
            f"{place}: the manifest has {len(stored)} bytes; allowed are at most {max_bytes}",
            "too_large",
            "shorten the note, the names of features and categories, or the reference statistics",
        )
    try:
        read = Manifest.from_json(stored, place)
    except ModelError as error:
        raise ModelError(error.message, kind=error.kind, remedy=_STORABLE) from None
    if (read.signature, read.preprocessing) != (manifest.signature, manifest.preprocessing):
        raise _error(f"{place}: the signature or the preprocessing does not read back unchanged", "manifest", _NO_CODE)


def _check_net(name: str, net: object) -> None:
    allowed = f"save_artefact takes a net made by forebay.build_net: {', '.join(ARCHITECTURES)}"
    if isinstance(net, Net):
        built_class: object = ARCHITECTURES.get(net.architecture)
        if type(net) is not built_class:
            raise _error(
                f"model {name!r}: the net is a {_type_name(type(net))}, a class of its own; {allowed}",
                "architecture",
                _NO_CODE,
            )
        return
    if isinstance(net, type):
        raise _error(
            f"model {name!r}: the net is the class {_type_name(net)} itself; {allowed}",
            "architecture",
            "give the trained net: an instance of the class",
        )
    remedy = (
        "build one of these architectures and copy the weights into it with load_state_dict: an artefact holds no code"
        if isinstance(net, nn.Module)
        else "train one of these architectures on the same data: forebay.train does it in a few lines"
    )
    raise _error(f"model {name!r}: the net is a {_type_name(type(net))}; {allowed}", "architecture", remedy)


def _check_preprocessing(name: str, preprocessing: object) -> None:
    remedy = "fit it with forebay.fit_preprocessing, or leave it out"
    if not isinstance(preprocessing, Preprocessing):
        raise _error(f"model {name!r}: preprocessing is {describe(preprocessing)}", "preprocessing", remedy)
    for index, step in enumerate(preprocessing.steps):
        if type(step) not in (Impute, Standardise, OneHot):
            raise _error(
                f"model {name!r}: preprocessing.steps[{index}] is a {_type_name(type(step))}; "
                "an artefact holds Impute, Standardise and OneHot of forebay",
                "preprocessing",
                remedy,
            )


def _outputs(place: str, net: Net, x: torch.Tensor) -> torch.Tensor:
    """Return the net's outputs for one row in evaluation mode; restore its mode afterwards."""
    modes = {module: module.training for module in net.modules()}
    device = next((weight.device for weight in net.parameters()), torch.device("cpu"))
    try:
        with torch.inference_mode():
            outputs: object = net.eval()(x.to(device))
    except Exception as error:
        raise _error(f"{place}: the net cannot run on one row: {error}", "weights", _NO_CODE) from error
    finally:
        for module, training in modes.items():
            module.training = training
    if not isinstance(outputs, torch.Tensor):
        raise _error(f"{place}: the net returns {type(outputs).__name__} instead of a tensor", "weights", _NO_CODE)
    return outputs.to("cpu", torch.float32)


def _type_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}".removeprefix("builtins.")


def _wrong_metric(message: str) -> ModelError:
    return _error(message, "manifest", "give metrics as finite numbers by name")


def _error(message: str, kind: str, remedy: str) -> ModelError:
    return ModelError(message, kind=kind, remedy=remedy)
