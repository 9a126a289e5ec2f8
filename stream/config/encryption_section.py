"""Settings of encrypted fields and values ([encryption])."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from forebay.stream.config.section import DAY_MS, Section
from forebay.stream.config.values import Allowed, Command, Path, Text
from forebay.stream.core.field_path import parse_field_path

WHOLE: Final = ("*",)

_PREDICTION_FIELDS: Final = ("prediction", "confidence", "class", "label", "features", "decision", "reason", "window")
_OPEN_FIELDS: Final = ("id", "timestamp", "key", "model", "deadline_ms")


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",")) if value else ()
    return tuple(value) if isinstance(value, list) else value


def _check_paths(fields: tuple[str, ...]) -> tuple[str, ...]:
    if "*" in fields and fields != WHOLE:
        raise ValueError("* is the whole value, so no other field can be beside it")
    if len(set(fields)) < len(fields):
        raise ValueError("a field is listed twice")
    if fields == WHOLE:
        return fields
    paths = [parse_field_path(field) for field in fields]
    for field, path in zip(fields, paths, strict=True):
        if not path:
            raise ValueError("an entry is empty")
        if len(path) == 1 and path[0] in _OPEN_FIELDS:
            raise ValueError(f"{field} must stay readable: Forebay routes, orders and finds events by it")
        if path[0] == "input":
            raise ValueError(f"{field}: write features, which stands for input, too")
        if any(other != path and path[: len(other)] == other for other in paths):
            raise ValueError(f"{field} is within another entry")
    return fields


def _check_prediction_fields(fields: tuple[str, ...]) -> tuple[str, ...]:
    fields = _check_paths(fields)
    for field in fields if fields != WHOLE else ():
        if field not in _PREDICTION_FIELDS:
            raise ValueError(f"{field!r} is not one of {', '.join(_PREDICTION_FIELDS)}")
    return fields


_FIELD_WORDS: Final = 'a list of fields (separated by commas in the environment), such as "features.age", or "*" alone'

InputFields = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_check_paths), Allowed(_FIELD_WORDS)]
PredictionFields = Annotated[
    tuple[str, ...],
    BeforeValidator(_split),
    AfterValidator(_check_prediction_fields),
    Allowed('a list of fields of predictions (separated by commas in the environment), or "*" alone'),
]


class EncryptionSection(Section):
    """Fields and values that are encrypted on the topics, and the keys. One source of keys is needed."""

    input_fields: InputFields = Field(
        default=(),
        description="Fields of the events that are encrypted on the input topics: paths in the JSON document, such as "
        'features.age or features, or "*" for the whole value, in any format. Empty: events are not encrypted.',
    )
    prediction_fields: PredictionFields = Field(
        default=(),
        description='Fields of predictions to encrypt, such as prediction and confidence (only in JSON), or "*" for the whole '
        "value. Empty: predictions are not encrypted.",
    )
    on_plain: Literal["reject", "accept"] = Field(
        default="reject",
        description="What to do with an event that has a plain value in a field of input_fields. reject: it becomes a dead "
        "letter. accept: it is predicted; for the time in which producers begin to encrypt. Its dead letter is encrypted in "
        "both cases.",
    )
    id_field: Text = Field(
        default="id",
        description="The field of the event, a path in the JSON document, whose value binds encrypted fields to the event.",
    )
    keys_file: Path | None = Field(
        default=None, description="File with the keys, as a JWK set. `forebay keys new` writes one."
    )
    keys_variable: Text | None = Field(
        default=None, description="Name of the environment variable whose value is the JWK set."
    )
    keys_command: Command | None = Field(
        default=None,
        repr=False,
        description="A command that prints the JWK set, such as the client of a key management service. It is run without a "
        "shell, and its output is never logged.",
    )
    keys_timeout_ms: int = Field(default=10_000, ge=100, le=300_000, description="Time limit for keys_command.")
    keys_refresh_ms: int = Field(
        default=10_000,
        ge=100,
        le=DAY_MS,
        description="Time between two readings of the keys from the file or the command. A file is also read at once, at most "
        "every second, if a token names a key that is unknown.",
    )

    local_kms_secret_file: Path | None = Field(
        default=None,
        description="File with the secret of Confluent's local-kms. With a secret, fields of events in Avro that an ENCRYPT "
        "rule of their schema encrypts are decrypted.",
    )
    local_kms_secret_variable: Text | None = Field(
        default=None, description="Name of the environment variable with this secret."
    )
    local_kms_secret_command: Command | None = Field(
        default=None,
        repr=False,
        description="A command that prints this secret. It is run like keys_command, with the same time limit, at the start "
        "only.",
    )

    @property
    def decrypts_avro(self) -> bool:
        """Whether fields that rules of schemas encrypt are decrypted."""
        return any((self.local_kms_secret_file, self.local_kms_secret_variable, self.local_kms_secret_command))

    @property
    def is_used(self) -> bool:
        """Whether anything is encrypted."""
        return bool(self.input_fields or self.prediction_fields or self.decrypts_avro)
