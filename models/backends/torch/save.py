"""Save a net of a built-in architecture as a version of a model."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

import torch

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.backend_files import MAX_WEIGHTS_BYTES, WEIGHTS_FILE
from forebay.models.artefacts.draft_checks import (
    check_parent,
    check_preprocessing,
    check_provenance,
    check_signature,
    check_tolerance,
)
from forebay.models.artefacts.fit import check_fit
from forebay.models.artefacts.golden import GoldenRows, Tolerance, check_finite
from forebay.models.artefacts.golden_drawing import draw_golden_rows
from forebay.models.artefacts.manifest import Provenance
from forebay.models.artefacts.preparation import shaped_rows
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.publication import Draft, publish_version
from forebay.models.artefacts.repository import check_name
from forebay.models.artefacts.signature import Signature
from forebay.models.backends.torch.architectures import Net, model_shape
from forebay.models.backends.torch.runner import TorchRunner
from forebay.models.backends.torch.validation import check_net, read_back_net
from forebay.models.backends.torch.weights import dump_weights


def save_artefact(
    repository: Path | str,
    name: str,
    net: Net,
    *,
    signature: Signature,
    preprocessing: Preprocessing | None = None,
    metrics: Mapping[str, float] = MappingProxyType({}),
    created_at: datetime,
    note: str = "",
    licence: str = "",
    parent: int | None = None,
    golden_rows: FloatArray | None = None,
    tolerance: Tolerance | None = None,
    reference_statistics: Mapping[str, object] | None = None,
) -> Path:
    """Publish `net` as the next version of `name`; return the version's directory.

    A published version can be loaded and gives the same predictions: it is read back before it appears. It is written to a
    temporary directory, synced and renamed into place, so that readers see all of it or nothing, and processes that publish
    at the same time each get a version of their own. The repository is created if it is missing.

    A few golden rows are stored with the outputs that the net gives for them on the CPU. Every worker compares them when it
    loads the model, on its own device.

    net: a net made by `build_net`.
    preprocessing: None for the identity.
    created_at: a time with a time zone.
    licence: the terms under which the model may be used, such as an SPDX expression.
    parent: the version of this model that this one was made from.
    golden_rows: float32 [N, row_width], rows as events give them, before preprocessing: the training rows, for example. At
        most 32 are drawn, evenly over all of them. None to make rows from what the preprocessing was fitted to.
    tolerance: the allowed difference from the golden outputs; None for 1 % of an output plus 0.1 % of the largest.
    reference_statistics: as `ReferenceStatistics.to_dict` gives them, of the training data; None for no statistics.

    Raises ModelError if an argument cannot be stored, the parts do not fit together, the weights are not finite float32 or
    an output for a golden row is not finite; StorageError if the files cannot be written.
    """
    preprocessing = Preprocessing.identity() if preprocessing is None else preprocessing
    check_name(name)
    check_net(name, net)
    check_signature(name, signature)
    check_preprocessing(name, preprocessing)
    check_provenance(name, metrics=metrics, created_at=created_at)
    check_fit(model_shape(net), signature, preprocessing, f"model {name!r}")
    check_parent(repository, name, parent)
    check_tolerance(name, tolerance)
    weights = dump_weights(name, net, MAX_WEIGHTS_BYTES)
    loaded = read_back_net(name, net, weights)
    rows_RW = draw_golden_rows(name, signature, preprocessing, golden_rows)
    outputs_RO = TorchRunner(loaded, torch.device("cpu")).run(shaped_rows(signature, preprocessing, rows_RW))
    check_finite(name, outputs_RO)
    draft = Draft(
        name,
        "torch",
        files={WEIGHTS_FILE: weights},
        signature=signature,
        preprocessing=preprocessing,
        provenance=Provenance(
            created_at, metrics, note, licence, parent=parent, reference_statistics=reference_statistics
        ),
        architecture=net.architecture,
        params=net.params,
    )
    golden = GoldenRows(rows_RW, outputs_RO, Tolerance.suited_to(outputs_RO) if tolerance is None else tolerance)
    return publish_version(repository, draft, golden)
