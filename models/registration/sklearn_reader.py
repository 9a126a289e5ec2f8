"""Read fitted pipelines of scikit-learn: each step becomes steps of the preprocessing, the model one that a backend runs.

Shapes: R rows, W used columns of the table, G prepared columns, O outputs.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.backend_files import MAX_WEIGHTS_BYTES, ONNX_FILE, WEIGHTS_FILE
from forebay.models.artefacts.golden_drawing import draw_golden_rows
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.registration.candidate import Candidate, ConversionNote, conversion_table
from forebay.models.registration.hints import Hints
from forebay.models.registration.layers_graph import encode_layers
from forebay.models.registration.readers import find_reader
from forebay.models.registration.sklearn_columns import Column, Conversion, ConversionRefused, SourceColumn, refusal
from forebay.models.registration.sklearn_nets import FittedNet, find_net_reader
from forebay.models.registration.sklearn_steps import read_step, used_columns
from forebay.models.registration.sklearn_table import TableBuilder
from forebay.models.registration.sklearn_trees import READERS as TREE_READERS
from forebay.models.registration.sklearn_trees import read_sklearn_trees
from forebay.schemas.errors import ModelError

_SEARCHES: Final = ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")
# What float32 between the steps may change in a prepared value.
_RELATIVE: Final = 1e-4
_ABSOLUTE: Final = 1e-4


def read_sklearn(model: object, hints: Hints) -> Candidate:
    """Return the candidate of a fitted pipeline, linear model, perceptron, tree or ensemble of trees of scikit-learn.

    model: a Pipeline whose last step is the model, or the model alone. Columns of a ColumnTransformer that no transformer
        takes are left out of the signature.

    Each step is frozen, or approximated with a note that says where, or refused with a ModelError that says why. What the
    converted steps give for drawn rows, with missing and unknown values, must agree with the original's.
    """
    model = _checked(model, hints.name)
    steps, final, notes = _split(model)
    net_reader = find_net_reader(final)
    if not steps and net_reader is None:
        return _tree_candidate(final, hints)
    if hints.preprocessing is not None and hints.preprocessing.steps:
        raise refusal(
            hints.name, "a preprocessing is given, and the pipeline has its own", "leave the preprocessing out"
        )
    original = _Original.of(model, steps, hints.name)
    to = original.conversion
    columns = [Column(number, source) for number, source in enumerate(to.sources)]
    by_place: list[Column | None] = [None] * original.width
    for column, source in zip(columns, to.sources, strict=True):
        by_place[source.place] = column
    part = type(final).__name__
    try:
        for name, step in steps:
            by_place = list(read_step(step, by_place, to, name))
        last = [column for column in by_place if column is not None]
        preprocessing = to.flow.finish(to.numbers(last, part))
    except ConversionRefused as error:
        raise _with_table(error, [*notes, *original.notes()]) from None
    names = [feature.name for feature in hints.features] if len(hints.features) == len(to.sources) else None
    features = original.features(preprocessing, names)
    own_hints = replace(hints, features=(), preprocessing=preprocessing, golden_rows=None)
    if net_reader is not None:
        candidate = _net_candidate(net_reader(final, hints.name), own_hints, features, original)
        final_notes: tuple[ConversionNote, ...] = (ConversionNote(part, "frozen"),)
    else:
        candidate = _tree_candidate(final, replace(own_hints, signature=None, features=features))
        candidate = replace(candidate, signature=_checked_signature(candidate.signature, hints))
        final_notes = candidate.notes
    original.check_preprocessing(candidate.signature, preprocessing)
    return replace(candidate, notes=(*notes, *original.notes(), *final_notes))


def _with_table(error: ModelError, notes: Sequence[ConversionNote]) -> ModelError:
    """Return the error with what became of all steps that were read, unless there is only the refused one."""
    if len(notes) < 2:
        return error
    table = conversion_table(notes)
    return ModelError(f"{error.message}\n{table}", kind=error.kind, remedy=error.remedy)


def _checked(model: object, name: str) -> Any:
    """Return the model. Raises ModelError for one that is not fitted, and for other objects."""
    if not isinstance(model, BaseEstimator):
        raise refusal(name, f"this is a {type(model).__name__}", "give a fitted estimator of scikit-learn")
    try:
        check_is_fitted(model)
    except NotFittedError:
        raise refusal(name, f"{type(model).__name__} is not fitted", "call fit before") from None
    return model


def _split(model: Any) -> tuple[list[tuple[str, Any]], Any, list[ConversionNote]]:
    """Return the transformers with their names, the model after them, and notes about searches for it."""
    if type(model).__name__ in _SEARCHES:
        note = ConversionNote(type(model).__name__, "frozen", "the best model that it found")
        steps, final, notes = _split(model.best_estimator_)
        return steps, final, [note, *notes]
    if not isinstance(model, Pipeline):
        return [], model, []
    *steps, (_, last) = model.steps
    nested, final, notes = _split(last)
    return [*steps, *nested], final, notes


def _net_candidate(fitted: FittedNet, hints: Hints, features: tuple[Feature, ...], original: _Original) -> Candidate:
    signature = _checked_signature(
        replace(hints, signature=None, features=()).complete_signature(
            task=fitted.task,
            output_dim=fitted.output_dim,
            num_features=len(features),
            features=features,
            labels=tuple(map(str, fitted.classes)),
        ),
        hints,
    )
    preprocessing = hints.preprocessing
    assert preprocessing is not None

    def expected(rows_RW: FloatArray) -> FloatArray:
        table = original.table(rows_RW)
        outputs_RO = fitted.outputs(original.transformed(rows_RW))
        with _quiet():
            if fitted.task == "regression":
                found, wanted = outputs_RO, original.model.predict(table)
            else:
                found, wanted = fitted.probabilities(outputs_RO), original.model.predict_proba(table)
        if not np.allclose(found, np.reshape(wanted, found.shape), rtol=1e-6, atol=1e-6):
            raise refusal(hints.name, "the layers that were read do not give the pipeline's predictions", _REPORT)
        return np.asarray(outputs_RO, dtype=np.float32)

    if hints.backend != "torch":
        graph = encode_layers(*fitted.layers(hints.name), fitted.activation)
        return Candidate(
            "onnx", {ONNX_FILE: graph}, signature=signature, preprocessing=preprocessing, expected=expected
        )
    from forebay.models.backends.torch.weights import dump_weights  # imports torch
    from forebay.models.registration.sklearn_torch import build_fitted_net  # imports torch

    net = build_fitted_net(fitted, hints.name)
    return Candidate(
        "torch",
        files={WEIGHTS_FILE: dump_weights(hints.name, net, MAX_WEIGHTS_BYTES)},
        signature=signature,
        preprocessing=preprocessing,
        params=net.params,
        architecture=net.architecture,
        expected=expected,
    )


def _checked_signature(found: Signature, hints: Hints) -> Signature:
    """Return the stated signature if it fits the one that was found, and that one if none is stated."""
    stated = hints.signature
    if stated is None:
        return found
    for own, read in zip(stated.features, found.features, strict=False):
        if (own.name, own.dtype, own.categories, own.other) != (read.name, read.dtype, read.categories, read.other):
            raise refusal(
                hints.name,
                f"the signature's feature is {own!r}, the pipeline's {read!r}",
                "correct the signature or leave it out: the pipeline knows its columns",
            )
    if (stated.shape, stated.task, stated.output_dim) != (found.shape, found.task, found.output_dim):
        raise refusal(
            hints.name,
            f"the signature states {stated.num_features} features and {stated.output_dim} outputs ({stated.task}); the "
            f"pipeline has {len(found.features)} and {found.output_dim} ({found.task})",
            "correct the signature or leave it out: the pipeline knows its columns",
        )
    return stated


def _tree_candidate(final: Any, hints: Hints) -> Candidate:
    """Return what the readers of trees make of a model, which may be of another library."""
    if not type(final).__module__.startswith("sklearn."):
        what, entry = find_reader(final)
        return entry.load(what)(final, hints)
    if type(final) not in TREE_READERS:
        raise refusal(hints.name, f"{type(final).__name__} cannot be converted", _OTHERS)
    return read_sklearn_trees(final, hints)


_REPORT: Final = "report this with the versions of Forebay and scikit-learn; nothing was published"
_OTHERS: Final = "use a linear model, an MLP, or trees; or export the model to ONNX and register the file"


@dataclass(frozen=True, slots=True, eq=False)
class _Original:
    """The fitted pipeline, as what the conversion must agree with.

    width: number of columns of its table.
    """

    name: str
    model: Any
    transformers: Any
    builder: TableBuilder
    conversion: Conversion
    width: int
    left_out: tuple[str, ...]

    @classmethod
    def of(cls, model: Any, steps: Sequence[tuple[str, Any]], name: str) -> _Original:
        names = getattr(model, "feature_names_in_", None)
        first = next((step for _, step in steps if hasattr(step, "n_features_in_")), model)
        width = int(first.n_features_in_)
        shown = [f"x{place}" for place in range(width)] if names is None else [str(column) for column in names]
        used = used_columns(steps, width)
        sources = [SourceColumn(shown[place], place) for place in used]
        return cls(
            name,
            model,
            transformers=Pipeline(list(steps)) if steps else None,
            builder=TableBuilder(None if names is None else list(names), width, sources),
            conversion=Conversion(name, sources),
            width=width,
            left_out=tuple(shown[place] for place in range(width) if place not in set(used)),
        )

    def table(self, rows_RW: FloatArray) -> Any:
        """Return the table for rows as a worker gives them."""
        return self.builder.table(rows_RW, self.name)

    def transformed(self, rows_RW: FloatArray) -> npt.NDArray[np.float64]:
        """Return what the original transformers make of rows [R, G]."""
        table = self.table(rows_RW)
        if self.transformers is not None:
            with _quiet():
                table = self.transformers.transform(table)
        if hasattr(table, "toarray"):
            table = table.toarray()
        return np.asarray(table, dtype=np.float64)

    def features(self, preprocessing: Preprocessing, names: Sequence[str] | None) -> tuple[Feature, ...]:
        """Return the features: whether a column may be missing or unknown is what the pipeline itself says about such rows."""
        sources = self.conversion.sources
        plain = tuple(_feature(source, source.name, is_nullable=False, takes_unknown=False) for source in sources)
        signature = Signature(plain, (len(plain),), "regression", 1)
        base_W = draw_golden_rows(self.name, signature, preprocessing)[0]
        if not self._takes(base_W):
            raise refusal(self.name, f"the pipeline does not take a row such as {base_W.tolist()[:8]}", _REPORT)
        features = []
        for index, source in enumerate(sources):
            name = source.name if names is None else names[index]
            is_nullable = self._takes(_with(base_W, index, np.nan))
            takes_unknown = source.kind == "text" and self._takes(_with(base_W, index, len(source.categories)))
            features.append(_feature(source, name, is_nullable=is_nullable, takes_unknown=takes_unknown))
            if source.kind == "text" and is_nullable and not takes_unknown:
                self.conversion.approximated(
                    f"column {name!r}", "an unknown category is treated like a missing value; the original raises"
                )
        return tuple(features)

    def _takes(self, row_W: FloatArray) -> bool:
        try:
            with _quiet():
                predicted = np.asarray(self.model.predict(self.table(row_W[None])))
        except (ValueError, TypeError):
            return False
        return predicted.dtype.kind != "f" or bool(np.isfinite(predicted).all())

    def check_preprocessing(self, signature: Signature, preprocessing: Preprocessing) -> None:
        """Raise ModelError unless the steps give what the original ones do, for drawn rows."""
        rows_RW = draw_golden_rows(self.name, signature, preprocessing)
        wanted_RG, found_RG = self.transformed(rows_RW), preprocessing.apply(rows_RW)
        if found_RG.shape != wanted_RG.shape:
            raise refusal(
                self.name, f"the steps give {found_RG.shape[1]} columns, the original {wanted_RG.shape[1]}", _REPORT
            )
        allowed_RG = _ABSOLUTE + _RELATIVE * np.abs(wanted_RG)
        is_right_RG = (np.abs(found_RG - wanted_RG) <= allowed_RG) | (np.isnan(found_RG) & np.isnan(wanted_RG))
        if not is_right_RG.all():
            row, column = (int(index) for index in np.argwhere(~is_right_RG)[0])
            raise ModelError(
                f"model {self.name!r}: the prepared column {column} is {found_RG[row, column]:.7g} for the row "
                f"{rows_RW[row].tolist()[:8]}; in the original it is {wanted_RG[row, column]:.7g}",
                kind="golden",
                remedy=_REPORT,
            )

    def notes(self) -> list[ConversionNote]:
        """Return what became of the steps, and of columns that they do not take."""
        if not self.left_out:
            return self.conversion.notes
        reason = f"no transformer takes {', '.join(self.left_out)}: not in the signature"
        return [ConversionNote("columns left out", "frozen", reason), *self.conversion.notes]


def _feature(source: SourceColumn, name: str, *, is_nullable: bool, takes_unknown: bool) -> Feature:
    if source.kind == "text":
        return Feature(name, "category", source.categories, is_nullable, other=takes_unknown)
    return Feature(name, nullable=is_nullable)


def _with(row_W: FloatArray, index: int, value: float) -> FloatArray:
    changed_W = row_W.copy()
    changed_W[index] = value
    return changed_W


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the warnings of scikit-learn about unknown categories and names of columns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
