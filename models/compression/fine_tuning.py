"""Train a chain of layers: after pruning, or as the student of a larger model.

Distillation trains the student on the teacher's outputs at a temperature, and on the labels (Hinton, Vinyals and Dean, 2015).

Shapes: N rows, B rows of a batch, G columns after preprocessing, O outputs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.signature import Task
from forebay.models.backends.torch.architectures import Net
from forebay.models.compression.layers import Convolution, Dense, Flatten, Layer, Layers, MaxPool, has_weights
from forebay.models.compression.training_rows import CompressionData
from forebay.models.training.loop import LoopOptions, Rows, TrainingLoop, outputs
from forebay.models.training.losses import LOSSES, Loss
from forebay.models.training.optimisers import OptimizerOptions

_LEAST_BATCH: Final = 16
_STEPS: Final = 40
"""Few rows are trained in smaller batches, so that an epoch has at least about this many steps."""
_FUNCTIONS: Final = {"Relu": torch.relu, "Sigmoid": torch.sigmoid, "Tanh": torch.tanh}


@dataclass(frozen=True, slots=True)
class TuningOptions:
    """How long to train: until `patience` epochs were not better on the validation rows. The best epoch is kept."""

    epochs: int = 30
    batch_size: int = 256
    learning_rate: float = 1e-3
    patience: int = 5
    seed: int = 0


class LayerNet(Net):
    """The layers as a module of torch. No manifest names this architecture: the result is published as a graph."""

    def __init__(self, layers: Layers) -> None:
        nn.Module.__init__(self)  # not that of Net, which checks an architecture that manifests name
        self.architecture = "layers"
        self._params: dict[str, object] = {}
        self.input_shape, self.output_dim = layers.input_shape, layers.output_dim
        self._layers = layers
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for layer in layers.chain:
            match layer:
                case Dense():
                    self._add(layer.weight_IO.T, layer.bias_O)
                case Convolution():
                    self._add(layer.weight_OIKK, layer.bias_O)

    def _add(self, weight: FloatArray, bias: FloatArray) -> None:
        self.weights.append(nn.Parameter(torch.from_numpy(np.array(weight, order="C"))))
        self.biases.append(nn.Parameter(torch.from_numpy(bias.copy())))

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs before the link, [B, O]."""
        place = 0
        for layer in self._layers.chain:
            match layer:
                case Flatten():
                    x = x.flatten(1)
                    continue
                case MaxPool():
                    x = F.max_pool2d(x, layer.size)
                    continue
                case Dense():
                    x = F.linear(x, self.weights[place], self.biases[place])
                case Convolution():
                    x = F.conv2d(
                        x,
                        self.weights[place],
                        self.biases[place],
                        stride=layer.stride,
                        padding=layer.padding,
                        groups=layer.groups,
                    )
            if layer.activation is not None:
                x = _FUNCTIONS[layer.activation](x)
            place += 1
        return x

    def layers(self) -> Layers:
        """Return the layers with the weights of now."""
        chain: list[Layer] = []
        place = 0
        for layer in self._layers.chain:
            if not has_weights(layer):
                chain.append(layer)
                continue
            weight, bias = self.weights[place].detach().numpy(), self.biases[place].detach().numpy().copy()
            if isinstance(layer, Dense):
                chain.append(replace(layer, weight_IO=np.array(weight.T, order="C"), bias_O=bias))
            elif isinstance(layer, Convolution):
                chain.append(replace(layer, weight_OIKK=weight.copy(), bias_O=bias))
            place += 1
        return replace(self._layers, chain=tuple(chain))


@dataclass(frozen=True, slots=True)
class DistillationLoss(Loss):
    """The loss of a student. Targets are [B, 1 + O]: the label, then the teacher's logits or values.

    task_loss: of the labels. temperature: by which all logits are divided. share: of the teacher in the sum.
    """

    task_loss: Loss = field(default_factory=lambda: Loss("mse"))
    temperature: float = 2.0
    share: float = 0.7

    def row_losses(self, out_BO: Tensor, y: Tensor) -> Tensor:
        """Return the loss of each row [B]."""
        label_B, teacher_BO = y[:, 0], y[:, 1:]
        if self.task_loss.name in LOSSES["regression"]:
            hard_B = self.task_loss.row_losses(out_BO, label_B[:, None])
            return (1 - self.share) * hard_B + self.share * self.task_loss.row_losses(out_BO, teacher_BO)
        hard_B = self.task_loss.row_losses(out_BO, label_B)
        # Times the squared temperature, so that the gradients of both parts keep their proportion.
        scale = self.temperature**2
        if out_BO.shape[1] == 1:
            soft = torch.sigmoid(teacher_BO / self.temperature)
            soft_B = F.binary_cross_entropy_with_logits(out_BO / self.temperature, soft, reduction="none")[:, 0]
        else:
            soft = torch.softmax(teacher_BO / self.temperature, dim=1)
            soft_B = F.cross_entropy(out_BO / self.temperature, soft, reduction="none")
        return (1 - self.share) * hard_B + self.share * scale * soft_B


def fine_tune(
    layers: Layers,
    data: CompressionData,
    task: Task,
    options: TuningOptions,
    should_stop: Callable[[], bool] = lambda: False,
) -> Layers:
    """Return the layers, trained on the training rows. Raises ModelError(kind="diverged")."""
    return _trained(
        layers,
        data.training.rows,
        data.validation.rows,
        Loss(LOSSES[task][0]),
        options=options,
        should_stop=should_stop,
    )


def distil(
    student: Layers,
    teacher: Callable[[FloatArray], FloatArray],
    data: CompressionData,
    task: Task,
    options: TuningOptions,
    *,
    temperature: float,
    share: float,
    should_stop: Callable[[], bool] = lambda: False,
) -> Layers:
    """Return the student, trained on labels and the teacher's answers.

    teacher: returns logits or values [N, O] for prepared rows [N, G].
    """
    loss = DistillationLoss(
        "mse", task_loss=Loss(LOSSES[task][0]), temperature=temperature, share=share
    )  # by this name the loop passes the targets as numbers
    parts = []
    for part in (data.training, data.validation):
        label_N1 = np.asarray(part.y, dtype=np.float32).reshape(len(part), -1)[:, :1]
        parts.append(Rows(part.x_NG, np.concatenate([label_N1, teacher(part.x_NG)], axis=1)))
    return _trained(student, parts[0], parts[1], loss, options=options, should_stop=should_stop)


def new_student(like: Layers, widths: Sequence[int], seed: int) -> Layers:
    """Return a perceptron with random weights, with the input, activation and outputs of `like` and these hidden layers."""
    size = int(np.prod(like.input_shape))
    activation = next((layer.activation for layer in like.chain if isinstance(layer, Dense)), None) or "Relu"
    random = np.random.default_rng(seed)
    chain: list[Layer] = [Flatten()] if len(like.input_shape) > 1 else []
    sizes = [size, *widths, like.output_dim]
    for index, (inputs, outputs_) in enumerate(itertools.pairwise(sizes)):
        # As torch initialises its linear layers.
        limit = 1 / np.sqrt(inputs)
        chain.append(
            Dense(
                random.uniform(-limit, limit, (inputs, outputs_)).astype(np.float32),
                random.uniform(-limit, limit, outputs_).astype(np.float32),
                activation if index < len(widths) else None,
            )
        )
    return Layers(tuple(chain), like.input_shape, like.link)


def run_layers(layers: Layers, x_NG: FloatArray) -> FloatArray:
    """Return the outputs [N, O] before the link."""
    return outputs(LayerNet(layers), x_NG)


def _trained(
    layers: Layers,
    training: Rows,
    validation: Rows,
    loss: Loss,
    *,
    options: TuningOptions,
    should_stop: Callable[[], bool],
) -> Layers:
    net = LayerNet(layers)
    loop = TrainingLoop(
        net,
        training,
        validation,
        LoopOptions(
            loss,
            OptimizerOptions("adam", options.learning_rate, schedule="cosine"),
            epochs=options.epochs,
            batch_size=min(options.batch_size, max(_LEAST_BATCH, len(training) // _STEPS)),
            patience=options.patience,
            seed=options.seed,
        ),
        should_stop=should_stop,
    )
    loop.run()
    return net.layers()
