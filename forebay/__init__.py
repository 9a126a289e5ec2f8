"""Forebay: an inference worker for event streams on Kafka.

The names below are the public Python interface: describe a model's input, build or train a net, and save it for a worker.

    from forebay import Feature, Signature, build_net, save_artefact

Each name is imported when it is first used, so `import forebay` loads neither torch nor numpy. The command line is
`forebay`, or `python -m forebay`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forebay.models.artefact import save_artefact
    from forebay.models.fit import fit_preprocessing
    from forebay.models.nets import build_net
    from forebay.models.preprocess import Impute, OneHot, Preprocessing, Standardise
    from forebay.models.signature import Feature, Signature
    from forebay.models.train import TrainOptions, train
    from forebay.models.window_input import Aggregate, WindowInput

__all__ = [
    "Aggregate",
    "Feature",
    "Impute",
    "OneHot",
    "Preprocessing",
    "Signature",
    "Standardise",
    "TrainOptions",
    "WindowInput",
    "build_net",
    "fit_preprocessing",
    "save_artefact",
    "train",
]

_MODULES = {
    "Aggregate": "forebay.models.window_input",
    "Feature": "forebay.models.signature",
    "Impute": "forebay.models.preprocess",
    "OneHot": "forebay.models.preprocess",
    "Preprocessing": "forebay.models.preprocess",
    "Signature": "forebay.models.signature",
    "Standardise": "forebay.models.preprocess",
    "TrainOptions": "forebay.models.train",
    "WindowInput": "forebay.models.window_input",
    "build_net": "forebay.models.nets",
    "fit_preprocessing": "forebay.models.fit",
    "save_artefact": "forebay.models.artefact",
    "train": "forebay.models.train",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name in _MODULES:
        value = getattr(import_module(_MODULES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, whether or not they have been imported."""
    return sorted(globals().keys() | set(__all__))
