"""A model in service: its preprocessing, the runner of its backend, and the conversion of outputs to scores.

Shapes: B rows, F features, G columns after preprocessing, O outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.calibration import Calibration
from forebay.models.artefacts.files import GOLDEN_FILE
from forebay.models.artefacts.golden import GoldenRows
from forebay.models.artefacts.manifest import Manifest, OutputKind, default_outputs
from forebay.models.artefacts.preparation import prepare, prepared_shape, prepared_width
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.reference_statistics import ReferenceStatistics
from forebay.models.artefacts.signature import Signature
from forebay.models.backends.protocol import Runner, Scores
from forebay.models.serving.scoring import decided, scores_of
from forebay.schemas.errors import DeviceLostError, ModelError, TensorError


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What serving needs to know of a model besides its runner.

    outputs: as in `Manifest`; None for the default of the task.
    reference: the statistics of its training data; None if there are none.
    calibration, threshold: as in `Manifest`.
    num_bytes: size of its files; None if it has none.
    """

    name: str
    version: int
    signature: Signature
    preprocessing: Preprocessing
    outputs: OutputKind | None = None
    reference: ReferenceStatistics | None = None
    calibration: Calibration | None = None
    threshold: float | None = None
    num_bytes: int | None = None

    @classmethod
    def of(cls, manifest: Manifest) -> ModelDescription:
        """Return the description in a manifest."""
        statistics = manifest.provenance.reference_statistics
        return cls(
            manifest.name,
            manifest.version,
            manifest.signature,
            manifest.preprocessing,
            outputs=manifest.outputs,
            reference=None if statistics is None else ReferenceStatistics.from_dict(statistics),
            calibration=manifest.calibration,
            threshold=manifest.threshold,
            num_bytes=sum(entry.num_bytes for name, entry in manifest.files.items() if name != GOLDEN_FILE),
        )


class ServedModel:
    """A model in service. `prepare` may run on any thread, all else runs on the thread that owns the runner.

    memory_bytes: memory of the parameters: that of torch modules, else the size of the version's files; None if unknown. For
        all instances together.
    instances: this model and those that were added. Each may be used by another thread.
    num_golden_rows: how many rows `check_golden` has compared.
    threshold: for binary, the smallest score of class 1 that the version states; None for 0.5.
    manifest_sha256, signature_state: the digest of its manifest, and the verdict on its signature; None if it was not loaded.
    """

    manifest_sha256: str | None = None
    signature_state: str | None = None

    def __init__(self, description: ModelDescription, runner: Runner) -> None:
        """Take the runner; no other component may use it afterwards.

        Raises ModelError if the preprocessing does not take the signature's features.
        """
        self.name = description.name
        self.version = description.version
        self.signature = signature = description.signature
        self.device = runner.device
        self.reference = description.reference
        self.threshold = description.threshold
        self._calibration = description.calibration
        self._others: tuple[ServedModel, ...] = ()
        self.memory_bytes: int | None = getattr(runner, "memory_bytes", description.num_bytes)
        self.num_golden_rows = 0
        self._runner = runner
        self._preprocessing = preprocessing = description.preprocessing
        self._outputs: OutputKind = description.outputs or default_outputs(signature.task)
        self._width = prepared_width(signature, preprocessing)
        row_shape = prepared_shape(signature, preprocessing)
        self._row_shape = row_shape if len(row_shape) > 1 else None

    @property
    def instances(self) -> tuple[ServedModel, ...]:
        """All instances of the version. Not kept, because a reference to itself would keep a removed version in memory."""
        return (self, *self._others)

    def add_instances(self, others: Sequence[ServedModel]) -> None:
        """Add further instances of the version, each with a runner of its own."""
        self._others = tuple(others)
        if self.memory_bytes is not None:
            self.memory_bytes *= len(self.instances)

    def check_golden(self, golden: GoldenRows, place: str) -> None:
        """Raise ModelError(kind="golden") unless the outputs for the golden rows are finite and within the tolerance.

        If the version states the calibrated scores of its golden outputs, its calibration must give these.

        place: the start of the message: the file with the golden rows and the device. Raises like `forward` too.
        """
        golden.check(self._run(self._prepare(golden.rows_RW, checked=False)), place)
        if golden.scores_RO is not None:
            golden.check_scores(self._decided(golden.outputs_RO).values_BO, place)
        self.num_golden_rows = len(golden.rows_RW)

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        """Prepare and run a batch of zeros of each size. Raises like `forward`."""
        for batch_size in batch_sizes:
            x_BF = np.zeros((batch_size, self.signature.row_width), dtype=np.float32)
            self.forward(self._prepare(x_BF, checked=False))

    def prepare(self, x_BF: FloatArray) -> FloatArray:
        """Return the rows [B, F] after the frozen preprocessing, [B, G], in new memory.

        If the model takes windows as sequences, each of their events is preprocessed by itself. Raises TensorError for
        another type or shape, and RowsRejected if the preparation rejects some of the rows.
        """
        return self._prepare(x_BF, checked=True)

    def _prepare(self, x_BF: FloatArray, *, checked: bool) -> FloatArray:
        if x_BF.ndim != 2 or x_BF.shape[1] != self.signature.row_width:
            raise self._wrong_shape(x_BF, self.signature.row_width)
        return prepare(self.signature, self._preprocessing, x_BF, checked=checked)

    def forward(self, x_BG: FloatArray) -> Scores:
        """Run the model on rows [B, G] and return the scores.

        Raises ModelError with kind "out_of_memory" if the device has not enough memory for this many rows, and
        "output_shape" if the model does not return [B, output_dim]; TensorError for an input of another type
        or shape. Any other exception of the model passes through.
        """
        self._check_prepared(x_BG)
        return self._decided(self._run(x_BG))

    def raw_outputs(self, x_BG: FloatArray) -> FloatArray:
        """Run the model on rows [B, G] and return its outputs [B, O], before they become scores. Raises like `forward`."""
        self._check_prepared(x_BG)
        return self._run(x_BG)

    def _check_prepared(self, x_BG: FloatArray) -> None:
        if x_BG.dtype != np.float32 or x_BG.ndim != 2 or x_BG.shape[1] != self._width:
            raise self._wrong_shape(x_BG, self._width)

    def _shaped(self, x_BG: FloatArray) -> FloatArray:
        """Return prepared rows in the shape that the runner takes."""
        return x_BG if self._row_shape is None else x_BG.reshape(len(x_BG), *self._row_shape)

    def _decided(self, out_BO: FloatArray) -> Scores:
        scores = scores_of(out_BO, self.signature.task, self._outputs)
        return decided(scores, self._calibration, self.threshold)

    def _run(self, x_BG: FloatArray) -> FloatArray:
        num_rows = len(x_BG)
        try:
            out_BO = self._runner.run(self._shaped(x_BG))
        except DeviceLostError:
            raise
        except ModelError as error:
            failed = error
        else:
            if out_BO.shape == (num_rows, self.signature.output_dim):
                return out_BO
            failed = ModelError(
                f"returned {list(out_BO.shape)} instead of [{num_rows}, {self.signature.output_dim}]",
                kind="output_shape",
            )
        raise self._model_error(failed)

    def _model_error(self, error: ModelError) -> ModelError:
        """Return the error of a runner with the name of the model, and what to do."""
        remedy = {
            "out_of_memory": "use smaller batches, a smaller model, or a device with more memory",
            "output_shape": "correct the model or its signature and publish a new version",
        }.get(error.kind, error.remedy)
        return ModelError(f"model {self.name} version {self.version}: {error.message}", kind=error.kind, remedy=remedy)

    def _wrong_shape(self, x: FloatArray, width: int) -> TensorError:
        return TensorError(
            f"model {self.name} version {self.version} takes float32 [B, {width}] here; "
            f"this is {x.dtype} {list(x.shape)}",
            remedy="give rows with the columns of the model's signature",
        )
