"""The errors that Forebay raises on purpose.

    ForebayError
     ├─ ConfigError    the configuration or the command line is wrong
     ├─ DataError      an event or a file cannot be read as what it should be
     ├─ ModelError     a model cannot be found, loaded or run
     │   └─ TensorError    shapes or types do not meet
     ├─ BrokerError    the Kafka cluster refused, or could not be reached
     └─ StorageError   the local disk refused

Each carries a `kind` (a stable word for scripts), and a `remedy` for people: what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence


class ForebayError(Exception):
    """Base of all. `message` says what and where; `remedy`, when there is one, says what to do."""

    default_kind = "error"

    def __init__(self, message: str, *, kind: str | None = None, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind or self.default_kind
        self.remedy = remedy


class ConfigError(ForebayError):
    """The configuration is wrong. `problems` holds every mistake, one line each: key, value, what is allowed."""

    default_kind = "config"

    def __init__(
        self, message: str, *, problems: Sequence[str] = (), kind: str | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(message, kind=kind, remedy=remedy)
        self.problems = tuple(problems)


class DataError(ForebayError):
    """An event or a file cannot be read as what it should be."""

    default_kind = "data"


class ModelError(ForebayError):
    """A model cannot be found, loaded or run."""

    default_kind = "model"


class TensorError(ModelError):
    """Shapes or types do not meet."""

    default_kind = "tensor"


class BrokerError(ForebayError):
    """The Kafka cluster refused, or could not be reached."""

    default_kind = "broker"


class StorageError(ForebayError):
    """The local disk refused."""

    default_kind = "storage"
