"""Choose the reader for a model by the library that its type comes from, or by the suffix of its file.

Nothing is imported to find out: a library is imported by its reader, when the object or file is its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import FunctionType, MappingProxyType
from typing import Final, cast

from forebay.models.backends.python.declared import declaration_of, is_reference, resolve_reference
from forebay.models.registration.hints import Reader
from forebay.schemas.errors import ModelError


@dataclass(frozen=True, slots=True)
class ReaderEntry:
    """Where a reader is.

    extra: what installs the libraries that it needs; empty if it needs none.
    chooses_output: whether its models can have several outputs; one is chosen by name.
    """

    module: str
    function: str
    extra: str = ""
    chooses_output: bool = False

    def load(self, what: str) -> Reader:
        """Import the reader. Raises ModelError if a library is missing. what: the model, for the message."""
        try:
            return cast("Reader", getattr(import_module(f"{__package__}.{self.module}"), self.function))
        except ImportError as error:
            raise missing_library(what, self.extra, error) from None


OBJECT_READERS: Final[Mapping[str, ReaderEntry]] = MappingProxyType(
    {
        "forebay": ReaderEntry("torch_nets", "read_net"),
        "torch": ReaderEntry("own_torch", "read_module"),
        "lightgbm": ReaderEntry("lightgbm_reader", "read_lightgbm", "trees"),
        "sklearn": ReaderEntry("sklearn_reader", "read_sklearn", "trees"),
        "xgboost": ReaderEntry("xgboost_reader", "read_xgboost", extra="trees"),
    }
)
"""By library: the first part of the module that a class, or one that it inherits from, is defined in."""

FILE_READERS: Final[Mapping[str, ReaderEntry]] = MappingProxyType(
    {
        ".pt2": ReaderEntry("own_torch", "read_program"),
        ".py": ReaderEntry("own_code", "read_function"),
        ".txt": ReaderEntry("lightgbm_reader", "read_lightgbm", "trees"),
        ".json": ReaderEntry("xgboost_reader", "read_xgboost", extra="trees"),
        ".ubj": ReaderEntry("xgboost_reader", "read_xgboost", extra="trees"),
        ".onnx": ReaderEntry("onnx_reader", "read_onnx", chooses_output=True),
    }
)
"""By suffix, in lower case."""

DECLARED: Final = ReaderEntry("declared_reader", "read_declared")

MAX_FILE_BYTES: Final = 4 * 1024 * 1024 * 1024

_PICKLED: Final = frozenset(
    {".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin", ".ckpt", ".dill", ".cloudpickle", ".skops"}
)
_SAVE_INSTEAD: Final = (
    "load it in Python where you trust it, and give the object to forebay.register; or save it in a format without code: "
    "XGBoost's .json or .ubj, LightGBM's .txt"
)


def imported(model: object) -> object:
    """Return what a text such as `shop.scoring:risk` names in a module; anything else as it is. Raises ModelError."""
    if not isinstance(model, str | Path) or not is_reference(str(model)) or Path(model).exists():
        return model
    return resolve_reference(str(model))


def find_reader(model: object) -> tuple[str, ReaderEntry]:
    """Return a name of the model for messages, and its reader. Raises ModelError that names what can be read instead."""
    if isinstance(model, str | Path):
        return str(model), _file_reader(Path(model))
    if declaration_of(model) is not None:
        return f"{getattr(model, '__module__', '')}:{getattr(model, '__qualname__', '')}", DECLARED
    cls = type(model)
    what = f"an object of {cls.__module__}.{cls.__qualname__}"
    for base in cls.__mro__:
        entry = OBJECT_READERS.get(base.__module__.split(".")[0])
        if entry is not None:
            return what, entry
    if isinstance(model, FunctionType):
        raise _refusal(
            f"{model.__qualname__} is a function",
            "declare it with @forebay.model, or write it to a file as `predict`, and give the path of the file",
        )
    raise _refusal(
        f"{what} cannot be read: it comes from no known library",
        f"give a fitted model of {', '.join(sorted(OBJECT_READERS))}, or the path of a file: {_suffixes()}",
    )


def missing_library(what: str, extra: str, error: ImportError) -> ModelError:
    """Return the error for a model whose library is not installed."""
    install = f"pip install 'forebay[{extra}]'" if extra else f"pip install {error.name or 'it'}"
    return ModelError(f"{what}: cannot be read here: {error}", kind="registration", remedy=install)


def _check_size(path: Path) -> None:
    """Raise ModelError for a file that is larger than any backend takes: libraries read files as a whole."""
    size = path.stat().st_size if path.is_file() else 0
    if size > MAX_FILE_BYTES:
        raise ModelError(
            f"{path}: the file has {size} bytes; allowed are at most {MAX_FILE_BYTES}",
            kind="too_large",
            remedy="train a smaller model",
        )


def _is_pickle(path: Path) -> bool:
    """Return whether a file starts as pickles do, and as no file of a readable format does: with the number of the protocol."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as stream:
            start = stream.read(2)
    except OSError:  # its reader says why
        return False
    return len(start) == 2 and start[0] == 0x80 and start[1] <= 5


def _file_reader(path: Path) -> ReaderEntry:
    suffix = path.suffix.lower()
    if suffix not in _PICKLED and _is_pickle(path):
        raise _refusal(f"{path}: this is a pickle, which can run any code when it is loaded", _SAVE_INSTEAD)
    if suffix in _PICKLED:
        raise _refusal(f"{path}: {suffix} files can run any code when they are loaded", _SAVE_INSTEAD)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "there is no such file"
        raise _refusal(f"{path}: {what}", "give the path of the model's file")
    if suffix not in FILE_READERS:
        raise _refusal(f"{path}: the suffix is {suffix or 'missing'}", f"give a file of {_suffixes()}")
    _check_size(path)
    return FILE_READERS[suffix]


def _suffixes() -> str:
    return ", ".join(sorted(FILE_READERS))


def _refusal(problem: str, remedy: str) -> ModelError:
    return ModelError(problem, kind="registration", remedy=remedy)
