"""What the caller states about a model that is registered, for what its file or object does not say.

A reader turns a model of one library into a candidate: `reader(model, hints) -> Candidate`, where `model` is the fitted object
or the path of its file. It takes from the model what the model knows, and the rest from the hints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.manifest import OutputKind
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.progress import OnProgress
from forebay.models.artefacts.signature import Feature, Signature, Task
from forebay.models.registration.candidate import Candidate
from forebay.schemas.errors import ModelError


@dataclass(frozen=True, slots=True, eq=False)
class Hints:
    """What the caller states. Everything but the name may be missing.

    name: the model's name, for messages.
    signature: complete; overrides what the model says. `task`, `labels` and `features` agree with it.
    features: the columns of an event, read from a sample of the data: in the model's order, or with the model's names; empty
        if unknown. Where the model itself knows the categories of a column, these hold.
    labels: names of the classes; empty if not stated.
    preprocessing: what is applied to rows before the model; None for what the model brings.
    outputs: what the model returns; None for what the model says.
    golden_rows: float32 [N, F] as events give them; None if there are none yet.
    backend: what shall run the model; None to choose.
    arguments: with which the constructor of the user's own torch module builds it, by name.
    output: the name of the output to serve, of an ONNX graph with several; None for the only one that can be.
    on_progress: called while the file of the model is read.
    """

    name: str
    signature: Signature | None = None
    features: tuple[Feature, ...] = ()
    task: Task | None = None
    labels: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    outputs: OutputKind | None = None
    golden_rows: FloatArray | None = None
    backend: str | None = None
    arguments: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    output: str | None = None
    on_progress: OnProgress | None = None

    def complete_signature(
        self,
        *,
        task: Task,
        output_dim: int,
        num_features: int,
        features: Sequence[Feature] = (),
        labels: Sequence[str] = (),
    ) -> Signature:
        """Return the stated signature, or one from what the model says, completed by the hints.

        task, output_dim, num_features, features, labels: what the model says; without features and hints, they are named
        f0, f1, ….

        Raises ModelError if the hints contradict the model.
        """
        if self.signature is not None:
            if self.signature.num_features != num_features:
                raise self._contradiction("features", str(self.signature.num_features), str(num_features))
            return self.signature
        if self.task is not None and self.task != task:
            raise self._contradiction("task", self.task, task)
        chosen = self._merged(tuple(features)) or tuple(Feature(f"f{number}") for number in range(num_features))
        if len(chosen) != num_features:
            raise self._contradiction("features", str(len(chosen)), str(num_features))
        return Signature(
            features=chosen,
            shape=(num_features,),
            task=task,
            output_dim=output_dim,
            labels=self.labels or tuple(labels),
        )

    def stated_signature(self, output_dim: int | None = None) -> Signature:
        """Return a signature from the hints alone, for a model that says nothing about its input.

        output_dim: the number of outputs; None for one, or one for each label of a multiclass model.

        Raises ModelError if the hints are not enough.
        """
        if self.signature is not None:
            return self.signature
        if output_dim is None:
            output_dim = len(self.labels) if self.task == "multiclass" else 1
        if not self.features or self.task is None or not output_dim:
            missing = "labels" if self.features and self.task else "task" if self.features else "signature"
            raise ModelError(
                f"model {self.name!r}: the model does not say what it takes and returns, and {missing} is not stated",
                kind="signature",
                remedy="give a signature; or a sample of the data with the task (regression, binary, multiclass) and, for "
                "multiclass, the labels",
            )
        return self.complete_signature(task=self.task, output_dim=output_dim, num_features=len(self.features))

    def _merged(self, own: tuple[Feature, ...]) -> tuple[Feature, ...]:
        """Return the features in the model's order, where the sample has columns of the model's names."""
        sampled = {feature.name: feature for feature in self.features}
        if not own or not all(feature.name in sampled for feature in own):
            return self.features or own
        return tuple(
            replace(
                feature if feature.is_text else sampled[feature.name],
                nullable=feature.nullable or sampled[feature.name].nullable,
            )
            for feature in own
        )

    def _contradiction(self, what: str, stated: str, found: str) -> ModelError:
        return ModelError(
            f"model {self.name!r}: {what} stated: {stated}; the model has: {found}",
            kind="signature",
            remedy="correct the signature or leave it out; with a sample of the data, leave the label out with its name "
            "as the target",
        )


Reader = Callable[[object, Hints], Candidate]
