"""What the caller states about a model that is registered, for what its file or object does not say.

A reader turns a model of one library into a candidate: `reader(model, hints) -> Candidate`, where `model` is the fitted object
or the path of its file. It takes from the model what the model knows, and the rest from the hints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.manifest import OutputKind
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.signature import Feature, Signature, Task
from forebay.models.registration.candidate import Candidate
from forebay.schemas.errors import ModelError


@dataclass(frozen=True, slots=True, eq=False)
class Hints:
    """What the caller states. Everything but the name may be missing.

    name: the model's name, for messages.
    signature: complete; overrides what the model says. `task`, `labels` and `features` agree with it.
    features: the columns of an event in the model's order, read from a sample of the data; empty if unknown.
    labels: names of the classes; empty if not stated.
    preprocessing: what is applied to rows before the model; None for what the model brings.
    outputs: what the model returns; None for what the model says.
    golden_rows: float32 [N, F] as events give them; None if there are none yet.
    """

    name: str
    signature: Signature | None = None
    features: tuple[Feature, ...] = ()
    task: Task | None = None
    labels: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    outputs: OutputKind | None = None
    golden_rows: FloatArray | None = None

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
        chosen = self.features or tuple(features) or tuple(Feature(f"f{number}") for number in range(num_features))
        if len(chosen) != num_features:
            raise self._contradiction("features", str(len(chosen)), str(num_features))
        return Signature(
            features=chosen,
            shape=(num_features,),
            task=task,
            output_dim=output_dim,
            labels=self.labels or tuple(labels),
        )

    def _contradiction(self, what: str, stated: str, found: str) -> ModelError:
        return ModelError(
            f"model {self.name!r}: {what} stated: {stated}; the model has: {found}",
            kind="signature",
            remedy="correct the signature or leave it out; with a sample of the data, leave the label out with its name "
            "as the target",
        )


Reader = Callable[[object, Hints], Candidate]
