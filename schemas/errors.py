"""The errors that Forebay raises on purpose.

    ForebayError
     ├─ ConfigError    the configuration or the command line is wrong
     ├─ DataError      an event or a file does not have the expected format
     ├─ ModelError     a model cannot be found, loaded or run
     │   ├─ TensorError       the shape or type of an array is wrong
     │   └─ DeviceLostError   the device that runs the model is lost for this process
     ├─ BrokerError    the Kafka cluster refused a request or cannot be reached
     └─ StorageError   the local disk cannot be read or written

Each has a `kind`, a stable word for scripts, and usually a `remedy`, which says what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence


class ForebayError(Exception):
    """The base of all errors. `message` says what is wrong and where; `remedy`, if set, says what to do."""

    default_kind = "error"

    def __init__(self, message: str, *, kind: str | None = None, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind or self.default_kind
        self.remedy = remedy


class ConfigError(ForebayError):
    """The configuration or the command line is wrong. `problems`: one line for each mistake: key, value, what is allowed."""

    default_kind = "config"

    def __init__(
        self, message: str, *, problems: Sequence[str] = (), kind: str | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(message, kind=kind, remedy=remedy)
        self.problems = tuple(problems)


class DataError(ForebayError):
    """An event or a file does not have the expected format."""

    default_kind = "data"


class ModelError(ForebayError):
    """A model cannot be found, loaded or run."""

    default_kind = "model"


class TensorError(ModelError):
    """The shape or type of an array is wrong."""

    default_kind = "tensor"


class DeviceLostError(ModelError):
    """The device that runs a model is lost for this process: every further call fails, so the process must end."""

    default_kind = "device_lost"


class BrokerError(ForebayError):
    """The Kafka cluster refused a request or cannot be reached."""

    default_kind = "broker"


class StorageError(ForebayError):
    """The local disk cannot be read or written."""

    default_kind = "storage"
