"""Train a net from a recipe."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from forebay.models.artefacts.backend_files import MAX_WEIGHTS_BYTES
from forebay.models.artefacts.preparation import prepared_shape
from forebay.models.artefacts.signature import Task
from forebay.models.backends.torch.architectures import Net, build_net, outline
from forebay.models.training.distribution import AgreedStop, CheckpointObserver, Distribution, resume
from forebay.models.training.fitted_model import FittedModel
from forebay.models.training.loop import LoopObserver, LoopOptions, NullObserver, Rows, TrainingLoop, outputs
from forebay.models.training.losses import LOSSES, Loss, LossName, balanced_weights
from forebay.models.training.optimisers import OptimizerOptions
from forebay.models.training.prepared_data import PreparedData
from forebay.models.training.recipe import Recipe
from forebay.schemas.errors import ConfigError, ModelError


def train_net(
    recipe: Recipe,
    data: PreparedData,
    *,
    observer: LoopObserver | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    distribution: Distribution | None = None,
) -> FittedModel:
    """Return the net of the best epoch. torch's own random state is not changed.

    distribution: the ranks that train together, and the checkpoints; None for one process without checkpoints.

    Raises ModelError(kind="diverged") if the loss is not finite; ConfigError if the recipe does not fit the data.
    """
    options, distribution = loop_options(recipe, data), distribution or Distribution()
    device = training_device(recipe, has_ranks=distribution.ranks is not None)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(recipe.training.seed)
        net = new_net(recipe, data).to(device)
        with distribution.join(recipe, data, net) as session:
            exchange = session.exchange
            if exchange.rank:
                # Each rank drops other values; the weights above are the same.
                torch.manual_seed(recipe.training.seed + exchange.rank)
            loop = TrainingLoop(
                net,
                data.training,
                data.validation,
                options,
                exchange=exchange,
                observer=CheckpointObserver(
                    session,
                    observer or NullObserver(),
                    interval=distribution.options.checkpoint_interval,
                    steps=-(-len(data.training) // options.batch_size),
                ),
                should_stop=AgreedStop(exchange, should_stop),
            )
            resume(session, loop.state)
            end = loop.run()
    net.cpu()  # for the files of the version, and for the evaluation, which is then the same on every machine
    state = loop.state
    return FittedModel(
        net,
        lambda x_NG: outputs(net, x_NG),
        validation_loss=state.best_loss,
        history=tuple(state.history),
        best=state.best_epoch,
        end=end,
        params=net.params,
    )


def training_device(recipe: Recipe, *, has_ranks: bool = False) -> torch.device:
    """Return the device that the recipe is trained on. Raises ConfigError if it is not there or cannot be used."""
    wanted = recipe.training.device
    if wanted == "cpu" or (wanted == "auto" and not recipe.model.is_net):
        return torch.device("cpu")
    problem, remedy = None, 'set training.device = "cpu", or "auto" for CUDA where there is a device'
    if not recipe.model.is_net:
        problem, remedy = f"{recipe.model.architecture} is trained on the CPU", "leave training.device out"
    elif has_ranks:
        problem, remedy = "several processes train on CPUs only", "train in one process, or on CPUs"
    elif not torch.cuda.is_available():
        problem = "torch was built without CUDA" if torch.version.cuda is None else "torch finds no CUDA device"
    if problem is None:
        return torch.device("cuda", torch.cuda.current_device())
    if wanted == "auto":
        return torch.device("cpu")
    raise ConfigError(f"training.device is {wanted!r}: {problem}", kind="device", remedy=remedy)


def new_net(recipe: Recipe, data: PreparedData) -> Net:
    """Return the recipe's net with random weights.

    Raises ModelError or ConfigError if the data does not fit it, or its weights are larger than those of a version may be.
    """
    model = recipe.model
    if data.embeddings and model.architecture != "mlp":
        raise ConfigError(
            f"prepare has the step embedding, and model.architecture is {model.architecture}; only mlp learns vectors",
            remedy='use another step for texts, such as "one_hot" or "target"',
        )
    architecture, params = _architecture(recipe, data)
    num_bytes = sum(4 * weight.numel() for weight in outline(architecture, params).state_dict().values())
    if num_bytes > MAX_WEIGHTS_BYTES:
        raise ModelError(
            f"the weights of this {model.architecture} are {num_bytes:,} bytes; allowed are {MAX_WEIGHTS_BYTES:,}",
            kind="params",
            remedy="lower the sizes in [model], or encode texts in fewer columns",
        )
    return build_net(architecture, params)


def _architecture(recipe: Recipe, data: PreparedData) -> tuple[str, dict[str, object]]:
    """Return the architecture and the parameters of the recipe's net for this data."""
    model, signature = recipe.model, data.signature
    shape, outputs_ = prepared_shape(signature, data.preprocessing), signature.output_dim
    match model.architecture:
        case "linear":
            return "linear_regression", {"input_dim": math.prod(shape), "output_dim": outputs_}
        case "logistic":
            return "logistic_regression", {"input_dim": math.prod(shape), "output_dim": outputs_}
        case "mlp":
            return (
                "mlp",
                {
                    "input_dim": math.prod(shape),
                    "hidden_dims": list(model.hidden_dims),
                    "output_dim": outputs_,
                    "dropout_rate": model.dropout_rate,
                    "activation": model.activation,
                    "embeddings": data.embeddings,
                },
            )
        case "cnn":
            params: dict[str, object] = {"in_channels": shape[0], "image_size": shape[1], "num_classes": outputs_}
            return "cnn", params | {"dropout_rate": model.dropout_rate}
        case "gru":
            params = {
                "input_dim": shape[1] - 1,
                "sequence_length": shape[0],
                "hidden_dim": model.hidden_dim,
                "output_dim": outputs_,
                "num_layers": model.num_layers,
            }
            return "gru", params | {"dropout_rate": model.dropout_rate}
    raise ModelError(f"{model.architecture} is not a net", kind="architecture")


def loop_options(recipe: Recipe, data: PreparedData) -> LoopOptions:
    """Return the options of the loop. Raises ConfigError if the loss or the weights do not fit the task."""
    section, task = recipe.training, data.signature.task
    name = loss_name(recipe, task)
    return LoopOptions(
        Loss(name, _class_weights(recipe, data.training, data.signature.num_classes), section.huber_delta),
        OptimizerOptions(
            section.optimizer,
            section.learning_rate,
            momentum=section.momentum,
            weight_decay=section.weight_decay,
            schedule=section.schedule,
            warmup_steps=section.warmup_steps,
            gradient_clip=section.gradient_clip,
        ),
        epochs=section.epochs,
        batch_size=section.batch_size,
        patience=section.patience,
        seed=section.seed,
    )


def loss_name(recipe: Recipe, task: Task) -> LossName:
    """Return the loss of the recipe, or the default of the task. Raises ConfigError if it is of another task."""
    name = recipe.training.loss
    if name == "auto":
        return LOSSES[task][0]
    if name not in LOSSES[task]:
        raise ConfigError(
            f"training.loss is {name!r}, and the task is {task}; allowed is {', '.join(LOSSES[task])}",
            remedy="correct the loss, set data.task, or check data.label",
        )
    return name


def _class_weights(recipe: Recipe, training: Rows, num_classes: int) -> tuple[float, ...]:
    weights = recipe.training.class_weights
    if weights == "none":
        return ()
    if num_classes == 0:
        raise ConfigError("training.class_weights is set, and the task is regression", remedy="remove class_weights")
    if weights == "balanced":
        counts = np.bincount(np.asarray(training.y).astype(np.int64), minlength=num_classes)
        return balanced_weights(tuple(counts.tolist()))
    if len(weights) != num_classes:
        raise ConfigError(
            f"training.class_weights has {len(weights)} numbers; the label has {num_classes} classes",
            remedy="give one weight for each class, in the order of data.classes",
        )
    return tuple(float(weight) for weight in weights)
