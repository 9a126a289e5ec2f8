"""The artefacts that are mutated: one or more of each backend, small, so that a mutation is likely to hit something."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from forebay.models.artefacts.preprocessing import Impute, OneHot, Preprocessing, Standardise
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.backends.torch.architectures import build_net
from forebay.models.backends.torch.save import save_artefact
from tests.models.build import CREATED_AT, make_net, publish

NAME = "delays"


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
        reference_statistics={"version": 1, "counts": [1, 2]},
    )


def torch_linear(repository: Path) -> None:
    """Publish a linear regression, whose weights are few."""
    net = build_net("linear_regression", {"input_dim": 2, "output_dim": 1})
    signature = Signature((Feature("a"), Feature("b")), (2,), "regression", 1)
    save_artefact(repository, NAME, net, signature=signature, created_at=CREATED_AT)


SEEDS: Mapping[str, Callable[[Path], None]] = {
    "torch-linear": torch_linear,
    "torch-mlp": torch_mlp,
}
