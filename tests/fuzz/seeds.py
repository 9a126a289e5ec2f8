"""The artefacts that are mutated: one or more of each backend, small, so that a mutation is likely to hit something."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from onnx import helper

from forebay.models.artefacts.manifest import Provenance
from forebay.models.artefacts.preprocessing import Impute, OneHot, Preprocessing, Standardise
from forebay.models.artefacts.reference_statistics import CategoryReference, NumberReference, ReferenceStatistics
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.backends.torch.architectures import build_net
from forebay.models.backends.torch.save import save_artefact
from forebay.models.backends.trees.ensemble import TreeEnsemble
from forebay.models.backends.trees.rules import EnsembleRules
from forebay.models.registration.candidate import Candidate
from forebay.models.registration.publish import publish_candidate
from tests.models.backends.onnx.graphs import constant, make_model
from tests.models.backends.trees.forest import make_ensemble
from tests.models.build import CREATED_AT, make_net, publish
from tests.models.own_code import publish_function
from tests.models.own_torch import import_net, publish_module, trained, write_net

NAME = "delays"

_REFERENCE: Final = ReferenceStatistics(
    3,
    (
        CategoryReference("a", 1, categories=("x", "y"), counts=(1, 0), other=1),
        NumberReference("b", 0, mean=0.5, standard_deviation=None, edges=(0.0, 1.0), counts=(1, 1, 1)),
    ),
    (NumberReference("no", 0, mean=0.5, standard_deviation=0.1, edges=(), counts=(2,)),),
)


def torch_mlp(repository: Path) -> None:
    """Publish an MLP with a preprocessing of every kind."""
    features = (Feature("a", "category", ("x", "y"), nullable=True), Feature("b", nullable=True))
    steps = (Impute(2, (1,), (0.5,)), Standardise(2, (1,), (0.5,), (2.0,)), OneHot(2, (0,), (2,)))
    publish(
        repository,
        NAME,
        net=make_net(3, 2),
        signature=Signature(features, (2,), "multiclass", 2, labels=("no", "yes")),
        preprocessing=Preprocessing(steps),
        reference_statistics=_REFERENCE.to_dict(),
    )


def torch_linear(repository: Path) -> None:
    """Publish a linear regression, whose weights are few."""
    net = build_net("linear_regression", {"input_dim": 2, "output_dim": 1})
    signature = Signature((Feature("a"), Feature("b")), (2,), "regression", 1)
    save_artefact(repository, NAME, net, signature=signature, created_at=CREATED_AT)


def trees(repository: Path) -> None:
    """Publish an ensemble with numeric and categorical splits, three classes and missing values."""
    rules = EnsembleRules(3, 3)
    features = (Feature("a", nullable=True), Feature("b", nullable=True), _CODES)
    _publish_trees(repository, make_ensemble(rules, depth=3), Signature(features, (3,), "multiclass", 3))


def small_trees(repository: Path) -> None:
    """Publish a few stumps, so that most bytes are in the header."""
    ensemble = make_ensemble(EnsembleRules(1, 1), num_trees=2, depth=1)
    _publish_trees(repository, ensemble, Signature((Feature("a", nullable=True),), (1,), "regression", 1))


def own_module(repository: Path) -> None:
    """Publish a torch module with code of its own. The file with its source is beside the repository."""
    repository.mkdir()
    net = trained(import_net(write_net(repository.parent, name="fuzzed_net")).Net(5, depth=2))
    publish_module(repository, net, NAME, width=5, depth=2)


def function(repository: Path) -> None:
    """Publish a function."""
    repository.mkdir()
    publish_function(repository, name=NAME)


_CODES: Final = Feature("c", "category", tuple(map(str, range(30))), nullable=True)


def _publish_trees(repository: Path, ensemble: TreeEnsemble, signature: Signature) -> None:
    candidate = Candidate(
        "trees",
        {"trees.safetensors": ensemble.dump()},
        signature,
        Preprocessing.identity(),
        params=ensemble.rules.to_params(),
    )
    publish_candidate(candidate, repository=repository, name=NAME, provenance=Provenance(CREATED_AT, {}))


def onnx(repository: Path) -> None:
    """Publish a graph with two layers and a few operators between them."""
    weights = np.arange(12, dtype=np.float32).reshape(3, 4) / 10
    nodes = [
        helper.make_node("Gemm", ["rows", "first", "bias"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["positive"]),
        helper.make_node("Concat", ["positive", "hidden"], ["both"], axis=1),
        helper.make_node("Reshape", ["both", "shape"], ["shaped"]),
        helper.make_node("ReduceMean", ["shaped", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "second"], ["scores"]),
    ]
    initialisers = [
        constant("first", weights),
        constant("bias", [0.1, 0.2, 0.3, 0.4]),
        constant("shape", [-1, 2, 4], np.int64),
        constant("axes", [1], np.int64),
        constant("second", weights.reshape(4, 3)[:, :2]),
    ]
    candidate = Candidate(
        "onnx",
        {"model.onnx": make_model(nodes, initialisers).SerializeToString()},
        Signature(tuple(map(Feature, "abc")), (3,), "multiclass", 2),
        Preprocessing.identity(),
    )
    publish_candidate(candidate, repository=repository, name=NAME, provenance=Provenance(CREATED_AT, {}))


@dataclass(frozen=True, slots=True)
class Seed:
    """An artefact to mutate.

    trusted: whether the worker's trust policy allows its code.
    files: the backend's files that are mutated; all if empty. Trusted code is not mutated: it may do anything.
    is_refused: whether the artefact is refused before its backend sees it, mutated or not.
    """

    publish: Callable[[Path], None]
    trusted: bool = False
    files: tuple[str, ...] = ()
    is_refused: bool = False


SEEDS: Final[Mapping[str, Seed]] = {
    "onnx": Seed(onnx),
    "torch-linear": Seed(torch_linear),
    "torch-mlp": Seed(torch_mlp),
    "torch-module": Seed(own_module, trusted=True, files=("weights.safetensors",)),
    "torch-module, not trusted": Seed(own_module, is_refused=True),
    "python, not trusted": Seed(function, is_refused=True),
    "trees": Seed(trees),
    "trees-small": Seed(small_trees),
}
