"""The methods behind one protocol. Each is stated by its parameters and changes a subject; several in a row are a plan.

Shapes: N rows, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.signature import Task
from forebay.models.compression.accuracy import row_errors
from forebay.models.compression.fine_tuning import TuningOptions, distil, fine_tune, new_student, run_layers
from forebay.models.compression.layers import Dense, Layers, encode
from forebay.models.compression.onnx_quantisation import CALIBRATION_ROWS, quantise_dynamic, quantise_static
from forebay.models.compression.paired_tests import mcnemar
from forebay.models.compression.structured import kept_units, prune_units
from forebay.models.compression.subject import Subject, raw_outputs
from forebay.models.compression.training_rows import CompressionData
from forebay.models.compression.tree_pruning import keep_trees, limit_depth, quantise_thresholds
from forebay.models.compression.unstructured import zero_weights
from forebay.models.compression.weights_int4 import encode_int4
from forebay.models.serving.scoring import score
from forebay.schemas.errors import ModelError

MAX_TREE_ROWS: Final = 20_000
_LEAST_PROBABILITY: Final = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Workshop:
    """What methods work with.

    original: the model before all methods, the teacher of a student.
    should_stop: whether to end a training with its best epoch so far.
    """

    data: CompressionData
    task: Task
    original: Subject
    tuning: TuningOptions
    should_stop: Callable[[], bool] = lambda: False


class Method(Protocol):
    """Changes a model."""

    @property
    def label(self) -> str:
        """The method with its parameters, such as `prune 0.5`."""
        ...

    def apply(self, subject: Subject, workshop: Workshop) -> Subject:
        """Return the changed subject. Raises ModelError if the method does not suit it."""
        ...


@dataclass(frozen=True, slots=True)
class AsGraph:
    """The same net as a graph in ONNX Runtime, which most nets are faster in. It loses nothing."""

    label = "onnx"

    def apply(self, subject: Subject, workshop: Workshop) -> Subject:
        """Return the graph."""
        layers = subject.required_layers(self.label)
        return subject.with_graph(encode(layers), layers)


@dataclass(frozen=True, slots=True)
class Prune:
    """Structured pruning of each hidden layer, then training of what is left."""

    ratio: float

    @property
    def label(self) -> str:
        """The method with its parameters."""
        return f"prune {self.ratio:g}"

    def apply(self, subject: Subject, workshop: Workshop) -> Subject:
        """Return the smaller net."""
        before = subject.required_layers(self.label)
        layers = _tuned(prune_units(before, self.ratio), workshop, self.label)
        note = f"widths {_widths(before)} became {_widths(layers)}"
        return subject.with_graph(encode(layers), layers).with_note(note)


@dataclass(frozen=True, slots=True)
class Zero:
    """Unstructured pruning: the smallest weights become zero. Size only, and only where the file is compressed."""

    ratio: float

    @property
    def label(self) -> str:
        """The method with its parameters."""
        return f"zero {self.ratio:g}"

    def apply(self, subject: Subject, workshop: Workshop) -> Subject:
        """Return the net with zeros."""
        layers = zero_weights(subject.required_layers(self.label), self.ratio)
        note = f"{self.ratio:.0%} of the weights are zero: only a compressed file gets smaller, and nothing gets faster"
        return subject.with_graph(encode(layers), layers).with_note(note)


@dataclass(frozen=True, slots=True)
class Int8:
    """Static int8, by ranges of training rows."""

    label = "int8"

    def apply(self, subject: Subject, workshop: Workshop) -> Subject:
        """Return the quantised graph."""
        rows = workshop.data.training.x_NG
        chosen = rows[np.arange(min(len(rows), CALIBRATION_ROWS)) * len(rows) // min(len(rows), CALIBRATION_ROWS)]
        shaped = np.ascontiguousarray(chosen.reshape(-1, *subject.row_shape))
        return subject.with_graph(quantise_static(_graph(subject, self.label), shaped), None, is_quantised=True)


@dataclass(frozen=True, slots=True)
class DynamicInt8:
    """Dynamic int8: no calibration, one scale for a tensor, found in each call."""

    label = "int8-dynamic"

    def apply(self, subject: Subject, workshop: Workshop) -> Subject:
        """Return the quantised graph."""
        return subject.with_graph(quantise_dynamic(_graph(subject, self.label)), None, is_quantised=True)


@dataclass(frozen=True, slots=True)
class Int4:
    """Weights of 4 bits with a scale for each channel; values stay float32."""

    label = "int4"

    def apply(self, subject: Subject, workshop: Workshop) -> Subject:
        """Return the graph with the weights."""
        data = encode_int4(subject.required_layers(self.label))
        note = "weights of 4 bits are turned back into numbers when the model runs: the file gets smaller, not the time"
        return subject.with_graph(data, None).with_note(note)


@dataclass(frozen=True, slots=True)
class Distil:
    """A smaller perceptron that learns from the model's answers and the labels.

    widths: of its hidden layers; empty for a share of the model's own. scale: this share.
    temperature: by which logits are divided. teacher_share: of the teacher in the loss.
    """

    widths: tuple[int, ...] = ()
    scale: float = 0.5
    temperature: float = 2.0
    teacher_share: float = 0.7

    @property
    def label(self) -> str:
        """The method with its parameters."""
        return f"distill {'-'.join(map(str, self.widths))}" if self.widths else f"distill {self.scale:g}"

    def apply(self, subject: Subject, workshop: Workshop) -> Subject:
        """Return the student, with a note on whether it beats the same net trained on the labels alone."""
        like = _model_of_student(subject)
        widths = self.widths or student_widths(like, self.scale)
        fresh = new_student(like, widths, workshop.tuning.seed)
        _check_rows(workshop, self.label)
        student = distil(
            fresh,
            lambda x_NG: teacher_outputs(workshop.original, x_NG, workshop.task),
            workshop.data,
            task=workshop.task,
            options=workshop.tuning,
            temperature=self.temperature,
            share=self.teacher_share,
            should_stop=workshop.should_stop,
        )
        scratch = _tuned(fresh, workshop, self.label)
        result = subject.with_graph(encode(student), student)
        return result.with_note(compare_with_scratch(student, scratch, workshop))


@dataclass(frozen=True, slots=True)
class FewerTrees:
    """The first trees of an ensemble."""

    share: float

    @property
    def label(self) -> str:
        """The method with its parameters."""
        return f"trees {self.share:g}"

    def apply(self, subject: Subject, workshop: Workshop) -> Subject:
        """Return the ensemble with fewer trees."""
        before = subject.required_trees(self.label)
        after = keep_trees(before, self.share)
        return subject.with_trees(after).with_note(f"{before.num_trees} trees became {after.num_trees}")


@dataclass(frozen=True, slots=True)
class ShallowerTrees:
    """Trees of a limited depth."""

    depth: int

    @property
    def label(self) -> str:
        """The method with its parameters."""
        return f"depth {self.depth}"

    def apply(self, subject: Subject, workshop: Workshop) -> Subject:
        """Return the ensemble of shallower trees."""
        before = subject.required_trees(self.label)
        after = limit_depth(before, self.depth, _tree_rows(workshop))
        return subject.with_trees(after).with_note(f"{before.num_nodes:,} nodes became {after.num_nodes:,}")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Thresholds that are quantiles of the training rows, and leaves as float16."""

    bits: int

    @property
    def label(self) -> str:
        """The method with its parameters."""
        return f"thresholds {self.bits}"

    def apply(self, subject: Subject, workshop: Workshop) -> Subject:
        """Return the ensemble with fewer different thresholds."""
        before = subject.required_trees(self.label)
        after = quantise_thresholds(before, self.bits, _tree_rows(workshop))
        counts = [len(np.unique(ensemble.threshold_N)) for ensemble in (before, after)]
        return subject.with_trees(after).with_note(
            f"{counts[0]:,} different thresholds became {counts[1]:,}: only a compressed file gets smaller"
        )


def student_widths(like: Layers, scale: float) -> tuple[int, ...]:
    """Return a share of the widths of the hidden layers."""
    hidden = [len(layer.bias_O) for layer in like.chain[:-1] if isinstance(layer, Dense)]
    return tuple(kept_units(width, 1 - scale) for width in hidden or [64])


def teacher_outputs(teacher: Subject, x_NG: FloatArray, task: Task) -> FloatArray:
    """Return the teacher's logits, or values for a regression, [N, O]."""
    out_NO = raw_outputs(teacher, x_NG)
    if task == "regression" or teacher.draft.outputs != "probabilities":
        return out_NO
    p_NO = np.clip(out_NO, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    logits: FloatArray = (np.log(p_NO) - np.log1p(-p_NO) if p_NO.shape[1] == 1 else np.log(p_NO)).astype(np.float32)
    return logits


def compare_with_scratch(student: Layers, scratch: Layers, workshop: Workshop) -> str:
    """Return the note on a student and the same net that was trained on the labels alone, from the same weights."""
    part, task = workshop.data.held_out, workshop.task
    errors = [row_errors(score(run_layers(layers, part.x_NG), task), part) for layers in (scratch, student)]
    if task == "regression":
        before, after = (float(np.sqrt(error_N.mean())) for error_N in errors)
        verdict = "a gain" if after < before else "no gain"
        return f"distilled, against trained on labels alone: error {after:.4g} and {before:.4g}: {verdict} (not tested)"
    test = mcnemar(errors[0] == 0, errors[1] == 0)
    verdict = "a gain" if test.second_is_better else "no gain"
    return (
        f"distilled, against trained on labels alone: accuracy {1 - errors[1].mean():.4f} and {1 - errors[0].mean():.4f}, "
        f"McNemar p = {test.p_value:.2g}: {verdict}"
    )


def _model_of_student(subject: Subject) -> Layers:
    """Return layers with the input and outputs of the subject, whatever it is."""
    if subject.layers is not None:
        return subject.layers
    outputs = subject.draft.signature.output_dim
    shape = subject.row_shape
    size = int(np.prod(shape))
    head = Dense(np.zeros((size, outputs), np.float32), np.zeros(outputs, np.float32))
    if subject.draft.outputs != "probabilities":
        return Layers((head,), shape)
    return Layers((head,), shape, "Sigmoid" if outputs == 1 else "Softmax")


def _tuned(layers: Layers, workshop: Workshop, label: str) -> Layers:
    _check_rows(workshop, label)
    return fine_tune(layers, workshop.data, workshop.task, workshop.tuning, should_stop=workshop.should_stop)


def _check_rows(workshop: Workshop, label: str) -> None:
    if not workshop.data.is_finite:
        raise ModelError(
            f"{label}: prepared rows have missing values, on which a net cannot be trained",
            kind="compression",
            remedy="train a net with the step impute with `forebay train`",
        )


def _graph(subject: Subject, label: str) -> bytes:
    """Return the subject as an ONNX file. Raises ModelError if it is not a net."""
    if subject.draft.backend == "onnx":
        return next(iter(subject.draft.files.values()))
    if subject.layers is not None:
        return encode(subject.layers)
    raise ModelError(
        f"{label}: the model cannot be written as a graph: {subject.not_layers}",
        kind="compression",
        remedy="register the net with the backend onnx (`register.backend` of its recipe), and compress that",
    )


def _tree_rows(workshop: Workshop) -> FloatArray:
    return workshop.data.training.x_NG[:MAX_TREE_ROWS]


def _widths(layers: Layers) -> str:
    return "-".join(map(str, layers.widths()))
