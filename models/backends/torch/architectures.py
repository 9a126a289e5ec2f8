"""The torch architectures. Every net returns raw outputs, which are logits for classifiers.

Shapes: B rows, D inputs, O outputs, C channels, S image size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from math import prod
from types import MappingProxyType
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from forebay.models.artefacts.fit import ModelShape
from forebay.models.artefacts.window_input import MAX_STEPS
from forebay.models.backends.torch.embeddings import (
    ALLOWED_EMBEDDINGS,
    CodeEmbeddings,
    are_embeddings,
    embedding_problems,
)
from forebay.schemas.errors import ModelError, TensorError

MAX_DIM: Final = 1_000_000
MAX_HIDDEN_LAYERS: Final = 64
MIN_IMAGE_SIZE: Final = 4  # at least one pixel must remain after two poolings by 2
MAX_IMAGE_SIZE: Final = 4_096
_MAX_PROBLEMS: Final = 10
_MAX_SHOWN_CHARS: Final = 80
_CONV1_CHANNELS: Final = 32
_CONV2_CHANNELS: Final = 64
_DENSE_DIM: Final = 128

# In place on the output of the layer before: allocating a second large tensor costs more than the layer at thousands of rows.
ACTIVATIONS: Final[Mapping[str, Callable[[Tensor], Tensor]]] = MappingProxyType(
    {"relu": torch.relu_, "sigmoid": torch.sigmoid_, "tanh": torch.tanh_}
)


class Net(nn.Module):
    """A net with its architecture and parameters: `build_net(net.architecture, net.params)` builds an equal one.

    input_shape: shape of a row.
    output_dim: number of values that the net returns for a row.
    """

    architecture: str
    input_shape: tuple[int, ...]
    output_dim: int

    def __init__(self, architecture: str, params: Mapping[str, object]) -> None:
        super().__init__()
        self.architecture = architecture
        self._params = check_params(architecture, params)

    @property
    def params(self) -> Mapping[str, object]:
        """The parameters; read-only."""
        return MappingProxyType(self._params)  # created here, because it cannot be pickled

    @property
    def input_dim(self) -> int:
        """The number of values in a row."""
        return prod(self.input_shape)

    def check_input(self, x: Tensor) -> None:
        """Raise TensorError unless `x` is [B, *input_shape]."""
        if x.dim() == 0 or x.shape[1:] != self.input_shape:
            expected = ", ".join(["B", *map(str, self.input_shape)])
            raise TensorError(
                f"{self.architecture} takes a tensor [{expected}]; this one is {list(x.shape)}",
                remedy="give rows of the shape that the net was built for",
            )


class LinearRegression(Net):
    """One linear layer: [B, input_dim] -> [B, output_dim]."""

    def __init__(self, input_dim: int, output_dim: int = 1) -> None:
        super().__init__("linear_regression", {"input_dim": input_dim, "output_dim": output_dim})
        self.input_shape, self.output_dim = (input_dim,), output_dim
        self.linear = nn.Linear(input_dim, output_dim)

    def forward(self, x_BD: Tensor) -> Tensor:
        self.check_input(x_BD)
        out_BO: Tensor = self.linear(x_BD)
        return out_BO


class LogisticRegression(Net):
    """One linear layer that returns logits: [B, input_dim] -> [B, output_dim]; output_dim 1 means two classes."""

    def __init__(self, input_dim: int, output_dim: int = 1) -> None:
        super().__init__("logistic_regression", {"input_dim": input_dim, "output_dim": output_dim})
        self.input_shape, self.output_dim = (input_dim,), output_dim
        self.linear = nn.Linear(input_dim, output_dim)

    def forward(self, x_BD: Tensor) -> Tensor:
        self.check_input(x_BD)
        out_BO: Tensor = self.linear(x_BD)
        return out_BO


class MLP(Net):
    """Hidden layers (linear, activation, dropout), then a linear layer with neither: [B, D] -> [B, O].

    embeddings: triples of a column with codes, the number of codes K, and a width. The column is replaced by a learned vector
        for each code, which follows the other columns. Any value that is not a whole number from 0 to K - 1, such as a missing
        one, has the vector K.
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dims: Sequence[int],
        output_dim: int,
        dropout_rate: float = 0.0,
        activation: str = "relu",
        embeddings: Sequence[Sequence[int]] = (),
    ) -> None:
        super().__init__(
            "mlp",
            {
                "input_dim": input_dim,
                "hidden_dims": hidden_dims,
                "output_dim": output_dim,
                "dropout_rate": dropout_rate,
                "activation": activation,
                "embeddings": embeddings,
            },
        )
        self.input_shape, self.output_dim = (input_dim,), output_dim
        self.dropout_rate = float(dropout_rate)
        self.activation = ACTIVATIONS[activation]
        self.embeddings = CodeEmbeddings(input_dim, embeddings) if embeddings else None
        dims = [self.embeddings.output_dim if self.embeddings else input_dim, *hidden_dims]
        self.hidden = nn.ModuleList(nn.Linear(dims[index], dims[index + 1]) for index in range(len(dims) - 1))
        self.head = nn.Linear(dims[-1], output_dim)

    def forward(self, x_BD: Tensor) -> Tensor:
        self.check_input(x_BD)
        if self.embeddings is not None:
            x_BD = self.embeddings(x_BD)
        for linear in self.hidden:
            x_BD = self.activation(linear(x_BD))
            # Skipped rather than called as a no-op: with small batches each call is a noticeable part of the time.
            if self.training and self.dropout_rate:
                x_BD = F.dropout(x_BD, self.dropout_rate)
        out_BO: Tensor = self.head(x_BD)
        return out_BO


class CNN(Net):
    """Two 3x3 convolutions with padding 1, then a dense layer, then the classes.

    The convolutions have 32 and 64 channels, each with relu and max-pooling 2; the dense layer is 128 with
    relu, and dropout while it is trained.

    [B, in_channels, image_size, image_size] -> logits [B, num_classes].
    """

    def __init__(self, in_channels: int, image_size: int, num_classes: int, dropout_rate: float = 0.0) -> None:
        super().__init__(
            "cnn",
            {
                "in_channels": in_channels,
                "image_size": image_size,
                "num_classes": num_classes,
                "dropout_rate": dropout_rate,
            },
        )
        self.dropout_rate = float(dropout_rate)
        self.input_shape, self.output_dim = (in_channels, image_size, image_size), num_classes
        pooled_size = image_size // 2 // 2
        self.conv1 = nn.Conv2d(in_channels, _CONV1_CHANNELS, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(_CONV1_CHANNELS, _CONV2_CHANNELS, kernel_size=3, padding=1)
        self.dense = nn.Linear(_CONV2_CHANNELS * pooled_size * pooled_size, _DENSE_DIM)
        self.head = nn.Linear(_DENSE_DIM, num_classes)

    def forward(self, x_BCSS: Tensor) -> Tensor:
        self.check_input(x_BCSS)
        x = F.max_pool2d(torch.relu_(self.conv1(x_BCSS)), 2)
        x = F.max_pool2d(torch.relu_(self.conv2(x)), 2)
        x = torch.relu_(self.dense(x.flatten(1)))
        if self.training and self.dropout_rate:
            x = F.dropout(x, self.dropout_rate)
        out_BO: Tensor = self.head(x)
        return out_BO


class GRU(Net):
    """A gated recurrent unit over a sequence, then a linear layer on its state after the last event.

    [B, sequence_length, input_dim + 1] -> [B, output_dim]. The last value of each step is 1 for an event and 0 for padding.
    The padding follows the events, so it does not affect the state that is used, on which dropout acts while it is trained.
    Cho et al., 2014.
    """

    def __init__(
        self,
        input_dim: int,
        sequence_length: int,
        hidden_dim: int,
        output_dim: int,
        num_layers: int = 1,
        dropout_rate: float = 0.0,
    ) -> None:
        super().__init__(
            "gru",
            {
                "input_dim": input_dim,
                "sequence_length": sequence_length,
                "hidden_dim": hidden_dim,
                "output_dim": output_dim,
                "num_layers": num_layers,
                "dropout_rate": dropout_rate,
            },
        )
        self.dropout_rate = float(dropout_rate)
        self.input_shape, self.output_dim = (sequence_length, input_dim + 1), output_dim
        self.gru = nn.GRU(input_dim, hidden_dim, num_layers, batch_first=True)
        self.head = nn.Linear(hidden_dim, output_dim)

    def forward(self, x_BTW: Tensor) -> Tensor:
        self.check_input(x_BTW)
        states_BTH, _ = self.gru(x_BTW[:, :, :-1])
        last_B = (x_BTW[:, :, -1].sum(dim=1).long() - 1).clamp_min(0)
        state_BH = states_BTH[torch.arange(x_BTW.shape[0], device=x_BTW.device), last_B]
        if self.training and self.dropout_rate:
            state_BH = F.dropout(state_BH, self.dropout_rate)
        out_BO: Tensor = self.head(state_BH)
        return out_BO


ARCHITECTURES: Final[Mapping[str, Callable[..., Net]]] = MappingProxyType(
    {
        "linear_regression": LinearRegression,
        "logistic_regression": LogisticRegression,
        "mlp": MLP,
        "cnn": CNN,
        "gru": GRU,
    }
)


def build_net(architecture: str, params: Mapping[str, object]) -> Net:
    """Return a new net with random weights, in training mode.

    Raises ModelError: kind "architecture" for an unknown name, kind "params" with every problem of the
    parameters.
    """
    return _class_of(architecture)(**check_params(architecture, params))


def outline(architecture: str, params: Mapping[str, object]) -> Net:
    """Return the net without memory for weights, so that absurd parameters cost nothing. Raises like `build_net`."""
    with torch.device("meta"):
        return build_net(architecture, params)


def model_shape(net: Net) -> ModelShape:
    """Return what a net takes and returns for a row."""
    return ModelShape(net.architecture, tuple(net.input_shape), net.output_dim)


def check_params(architecture: str, params: Mapping[str, object]) -> dict[str, object]:
    """Return the parameters as JSON values, completed with the defaults. Raises like `build_net`."""
    _class_of(architecture)
    rules, defaults = _RULES[architecture], _DEFAULTS.get(architecture, {})
    problems = []
    # A few at most, and shortened: a hostile manifest may hold any number of names of any length.
    for name in islice((name for name in params if name not in rules), _MAX_PROBLEMS):
        near = get_close_matches(str(name)[:_MAX_SHOWN_CHARS], rules, n=1)
        problems.append(
            f"{str(name)[:_MAX_SHOWN_CHARS]} is not a parameter" + (f" (did you mean {near[0]}?)" if near else "")
        )
    complete: dict[str, object] = {}
    for name, (allowed, is_allowed) in rules.items():
        if name not in params and name not in defaults:
            problems.append(f"{name} is missing; allowed is {allowed}")
            continue
        value = params[name] if name in params else defaults[name]
        if not is_allowed(value):
            problems.append(f"{name} is {repr(value)[:_MAX_SHOWN_CHARS]}; allowed is {allowed}")
        complete[name] = _as_lists(value)
    if not problems and architecture == "mlp":
        problems += embedding_problems(complete["embeddings"], complete["input_dim"])
    if problems:
        raise ModelError(
            f"{architecture}: " + "; ".join(problems),
            kind="params",
            remedy=f"the parameters of {architecture} are {', '.join(rules)}",
        )
    # Only where they are used, so that other models can be read by earlier versions.
    if not complete.get("embeddings", True):
        del complete["embeddings"]
    return complete


def _as_lists(value: object) -> object:
    return [_as_lists(item) for item in value] if isinstance(value, list | tuple) else value


def _class_of(architecture: str) -> Callable[..., Net]:
    if architecture not in ARCHITECTURES:
        near = get_close_matches(str(architecture)[:_MAX_SHOWN_CHARS], ARCHITECTURES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ModelError(
            f"there is no architecture {architecture[:_MAX_SHOWN_CHARS]!r}{hint}",
            kind="architecture",
            remedy=f"choose one of {', '.join(ARCHITECTURES)}",
        )
    return ARCHITECTURES[architecture]


def _is_whole(value: object, minimum: int, maximum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum


def _is_dim(value: object) -> bool:
    return _is_whole(value, 1, MAX_DIM)


def _is_dims(value: object) -> bool:
    return isinstance(value, list | tuple) and 1 <= len(value) <= MAX_HIDDEN_LAYERS and all(map(_is_dim, value))


def _is_rate(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1


_Rule = tuple[str, Callable[[object], bool]]
_RATE: Final[_Rule] = ("a number from 0 to below 1", _is_rate)
_DIM: Final[_Rule] = (f"a whole number from 1 to {MAX_DIM}", _is_dim)
_RULES: Final[Mapping[str, Mapping[str, _Rule]]] = MappingProxyType(
    {
        "linear_regression": {"input_dim": _DIM, "output_dim": _DIM},
        "logistic_regression": {"input_dim": _DIM, "output_dim": _DIM},
        "mlp": {
            "input_dim": _DIM,
            "hidden_dims": (
                f"a list of 1 to {MAX_HIDDEN_LAYERS} whole numbers from 1 to {MAX_DIM}",
                _is_dims,
            ),
            "output_dim": _DIM,
            "dropout_rate": _RATE,
            "activation": (
                " or ".join(ACTIVATIONS),
                lambda value: isinstance(value, str) and value in ACTIVATIONS,
            ),
            "embeddings": (ALLOWED_EMBEDDINGS, are_embeddings),
        },
        "cnn": {
            "in_channels": _DIM,
            "image_size": (
                f"a whole number from {MIN_IMAGE_SIZE} to {MAX_IMAGE_SIZE}",
                lambda value: _is_whole(value, MIN_IMAGE_SIZE, MAX_IMAGE_SIZE),
            ),
            "num_classes": _DIM,
            "dropout_rate": _RATE,
        },
        "gru": {
            "input_dim": _DIM,
            "sequence_length": (
                f"a whole number from 1 to {MAX_STEPS}",
                lambda value: _is_whole(value, 1, MAX_STEPS),
            ),
            "hidden_dim": _DIM,
            "output_dim": _DIM,
            "num_layers": (
                f"a whole number from 1 to {MAX_HIDDEN_LAYERS}",
                lambda value: _is_whole(value, 1, MAX_HIDDEN_LAYERS),
            ),
            "dropout_rate": _RATE,
        },
    }
)
_DEFAULTS: Final[Mapping[str, Mapping[str, object]]] = MappingProxyType(
    {
        "linear_regression": {"output_dim": 1},
        "logistic_regression": {"output_dim": 1},
        "mlp": {"dropout_rate": 0.0, "activation": "relu", "embeddings": ()},
        "cnn": {"dropout_rate": 0.0},
        "gru": {"num_layers": 1, "dropout_rate": 0.0},
    }
)
