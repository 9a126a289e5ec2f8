"""The artefacts that are mutated: one or more of each backend, small, so that a mutation is likely to hit something."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
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
from tests.fuzz.onnx_graphs import NOT_SERVED, all_cases, allowed_operators, operator_graphs
from tests.fuzz.traits import NAME, Traits
from tests.models.backends.onnx.graphs import constant, make_model
from tests.models.backends.trees.forest import make_ensemble
from tests.models.build import CREATED_AT, make_net, publish
from tests.models.own_code import publish_function
from tests.models.own_torch import import_net, publish_module, trained, write_net

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
    _publish_graph(repository, make_model(nodes, initialisers).SerializeToString())


def onnx_operators(repository: Path) -> None:
    """Publish versions with graphs for all operators that can be served. Raises RuntimeError if one has none."""
    graphs = operator_graphs(allowed_operators(), all_cases())
    if missing := set(allowed_operators()) - graphs.keys() - NOT_SERVED.keys():
        raise RuntimeError(f"there is no graph for the operators {sorted(missing)}")
    publish_graphs(repository, graphs.values())


def publish_graphs(repository: Path, graphs: Iterable[Sequence[bytes]]) -> None:
    """Publish a version for each file."""
    for file in chain.from_iterable(graphs):
        _publish_graph(repository, file)


def _publish_graph(repository: Path, file: bytes) -> None:
    candidate = Candidate(
        "onnx",
        {"model.onnx": file},
        Signature(tuple(map(Feature, "abc")), (3,), "multiclass", 2),
        Preprocessing.identity(),
    )
    publish_candidate(candidate, repository=repository, name=NAME, provenance=Provenance(CREATED_AT, {}))


@dataclass(frozen=True, slots=True)
class Seed:
    """An artefact to mutate, of one or more versions.

    backend: the name in the table of results.
    share: of the mutations, in relation to other seeds.
    """

    backend: str
    publish: Callable[[Path], None]
    share: int = 2
    traits: Traits = field(default_factory=Traits)


SEEDS: Final[Mapping[str, Seed]] = {
    "onnx": Seed("onnx", onnx),
    "onnx-operators": Seed("onnx", onnx_operators, share=8),
    "python, not trusted": Seed("python, not trusted", function, share=1, traits=Traits(is_refused=True)),
    "torch-linear": Seed("torch", torch_linear),
    "torch-mlp": Seed("torch", torch_mlp),
    "torch-module": Seed("torch", own_module, traits=Traits(trusted=True, files=("weights.safetensors",))),
    "torch-module, not trusted": Seed("torch, not trusted", own_module, share=1, traits=Traits(is_refused=True)),
    "trees": Seed("trees", trees),
    "trees-small": Seed("trees", small_trees),
}
