"""Forebay: an inference worker for event streams on Kafka.

The names below are the public Python interface: describe a model's input, build or train a net, save it for a worker, and
load it to predict as a worker does.

    from forebay import Feature, Signature, build_net, save_artefact

Each name is imported when it is first used, so `import forebay` loads neither torch nor numpy. The command line is
`forebay`, or `python -m forebay`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if find_spec("forebay.stream") is None:
    raise ImportError(
        "the symbolic links in forebay/ are missing; run `.ci/setup-venv dev` in the root of the checkout, or install the wheel"
    )

if TYPE_CHECKING:
    from forebay.models.artefacts.alias_moves import move_alias
    from forebay.models.artefacts.golden import Tolerance
    from forebay.models.artefacts.preparation import prepare, prepared_shape
    from forebay.models.artefacts.preprocessing.impute import Impute
    from forebay.models.artefacts.preprocessing.one_hot import OneHot
    from forebay.models.artefacts.preprocessing.pipeline import Preprocessing
    from forebay.models.artefacts.preprocessing.standardise import Standardise
    from forebay.models.artefacts.signature import Feature, Signature
    from forebay.models.artefacts.text_codes import encode_texts
    from forebay.models.artefacts.window_input import Aggregate, WindowInput
    from forebay.models.backends.python.declared import model
    from forebay.models.backends.torch.architectures import build_net
    from forebay.models.backends.torch.save import save_artefact
    from forebay.models.registration.register import register
    from forebay.models.registration.signature_inference import infer_signature
    from forebay.models.training.fit import fit_preprocessing
    from forebay.models.training.train import TrainOptions, train
    from forebay.stream.offline.model import LoadedModel, load
    from forebay.stream.offline.outcomes import Outcome

    __version__: str

__all__ = [
    "Aggregate",
    "Feature",
    "Impute",
    "LoadedModel",
    "OneHot",
    "Outcome",
    "Preprocessing",
    "Signature",
    "Standardise",
    "Tolerance",
    "TrainOptions",
    "WindowInput",
    "build_net",
    "encode_texts",
    "fit_preprocessing",
    "infer_signature",
    "load",
    "model",
    "move_alias",
    "prepare",
    "prepared_shape",
    "register",
    "save_artefact",
    "train",
]

_MODULES = {
    "Aggregate": "forebay.models.artefacts.window_input",
    "Feature": "forebay.models.artefacts.signature",
    "Impute": "forebay.models.artefacts.preprocessing.impute",
    "LoadedModel": "forebay.stream.offline.model",
    "OneHot": "forebay.models.artefacts.preprocessing.one_hot",
    "Outcome": "forebay.stream.offline.outcomes",
    "Preprocessing": "forebay.models.artefacts.preprocessing.pipeline",
    "Signature": "forebay.models.artefacts.signature",
    "Standardise": "forebay.models.artefacts.preprocessing.standardise",
    "Tolerance": "forebay.models.artefacts.golden",
    "TrainOptions": "forebay.models.training.train",
    "WindowInput": "forebay.models.artefacts.window_input",
    "build_net": "forebay.models.backends.torch.architectures",
    "encode_texts": "forebay.models.artefacts.text_codes",
    "fit_preprocessing": "forebay.models.training.fit",
    "infer_signature": "forebay.models.registration.signature_inference",
    "load": "forebay.stream.offline.model",
    "model": "forebay.models.backends.python.declared",
    "move_alias": "forebay.models.artefacts.alias_moves",
    "prepare": "forebay.models.artefacts.preparation",
    "prepared_shape": "forebay.models.artefacts.preparation",
    "register": "forebay.models.registration.register",
    "save_artefact": "forebay.models.backends.torch.save",
    "train": "forebay.models.training.train",
}


if not TYPE_CHECKING:  # type checkers shall refuse a name that does not exist

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used."""
        if name in _MODULES:
            value = getattr(import_module(_MODULES[name]), name)
            globals()[name] = value
            return value
        if name == "__version__":
            return _version()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, whether or not they have been imported."""
    return sorted([*__all__, "__version__"])


def _version() -> str:
    """Return the version of the installed distribution. Raises AttributeError if Forebay is only on the path."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("forebay")
    except PackageNotFoundError:
        raise AttributeError("forebay is not installed, so it has no __version__") from None
