"""Build a net of the built-in architectures from the layers of a fitted model of scikit-learn, for the backend `torch`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import torch

from forebay.models.backends.torch.architectures import Net, build_net
from forebay.models.registration.sklearn_nets import FittedNet

_ACTIVATIONS: Final[Mapping[str, str]] = MappingProxyType({"relu": "relu", "logistic": "sigmoid", "tanh": "tanh"})


def build_fitted_net(fitted: FittedNet, name: str) -> Net:
    """Return the net. Raises ModelError for weights that are not finite float32. name: of the model, for messages."""
    weights, biases = fitted.layers(name)
    params: dict[str, object] = {"input_dim": len(weights[0]), "output_dim": fitted.output_dim}
    if len(weights) == 1:
        net = build_net("linear_regression" if fitted.task == "regression" else "logistic_regression", params)
        names = ["linear"]
    else:
        params |= {"hidden_dims": [weight.shape[1] for weight in weights[:-1]]}
        net = build_net("mlp", params | {"activation": _ACTIVATIONS[fitted.activation]})
        names = [*(f"hidden.{layer}" for layer in range(len(weights) - 1)), "head"]
    state = {}
    for part, weight, bias in zip(names, weights, biases, strict=True):
        state[f"{part}.weight"] = torch.from_numpy(weight.T.copy())
        state[f"{part}.bias"] = torch.from_numpy(bias.copy())
    net.load_state_dict(state)
    return net.eval()
