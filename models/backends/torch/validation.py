"""Check that a net can be saved: it is one of the built-in architectures, and reads back unchanged."""

from __future__ import annotations

from typing import Final

import torch
from torch import nn

from forebay.models.artefacts.draft_checks import type_name
from forebay.models.backends.torch.architectures import ARCHITECTURES, Net, outline
from forebay.models.backends.torch.weights import load_weights
from forebay.schemas.errors import ModelError

# Tolerances between outputs on the CPU and on another device, which computes in another order or with fewer bits.
_RELATIVE, _ABSOLUTE = 1e-2, 1e-4
_STORABLE: Final = "give what the message allows: an artefact holds nothing else"
_NO_CODE: Final = "make the net with forebay.build_net and leave its code as it is: an artefact holds no code"


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


def check_net(name: str, net: object) -> None:
    """Raise ModelError unless this is a net made by `build_net`."""
    allowed = f"save_artefact takes a net made by forebay.build_net: {', '.join(ARCHITECTURES)}"
    if isinstance(net, Net):
        built_class: object = ARCHITECTURES.get(net.architecture)
        if type(net) is not built_class:
            raise _error(
                f"model {name!r}: the net is a {type_name(type(net))}, a class of its own; {allowed}",
                "architecture",
                _NO_CODE,
            )
        return
    if isinstance(net, type):
        raise _error(
            f"model {name!r}: the net is the class {type_name(net)} itself; {allowed}",
            "architecture",
            "give the trained net: an instance of the class",
        )
    remedy = (
        "build one of these architectures and copy the weights into it with load_state_dict: an artefact holds no code"
        if isinstance(net, nn.Module)
        else "train one of these architectures on the same data: forebay.train does it in a few lines"
    )
    raise _error(f"model {name!r}: the net is a {type_name(type(net))}; {allowed}", "architecture", remedy)


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


def _error(message: str, kind: str, remedy: str) -> ModelError:
    return ModelError(message, kind=kind, remedy=remedy)
