"""Types of setting values: their validation, and the description of allowed values for error messages."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin
from urllib.parse import urlsplit

import annotated_types
from pydantic import AfterValidator, BeforeValidator, SecretStr, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from forebay.stream.config.log_levels import LEVELS, parse_levels
from forebay.stream.config.redaction import HIDDEN, only_host, only_program, without_login

MAX_NAME_LENGTH: Final = 249
"""Kafka's limit for topic names; Forebay applies it to group and client names too."""

_NAME: Final = re.compile(r"[A-Za-z0-9._-]*")
_HOST: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")
_MODEL_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_DEVICE: Final = re.compile(r"auto|cpu|mps|cuda(:[0-9]{1,3})?")
_ADDRESS: Final = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_WEB_URL: Final = re.compile(r"https?://[^\s/]+(/\S*)?")
_MANIFEST_DIGEST: Final = re.compile(r"(?:sha256:)?[0-9a-fA-F]{64}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Allowed:
    """Metadata of a field: the allowed values, as words that follow "must be"."""

    text: str


@dataclass(frozen=True, slots=True)
class NeverEmpty:
    """Metadata of a field: empty text is an error and does not unset it."""


@dataclass(frozen=True, slots=True)
class Redacted:
    """Metadata of a field: how to show a value that may contain a secret."""

    show: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Mistake:
    """An error in one part of a value.

    part: path below the setting's key, such as "[1].rate".
    subject: the part in words, such as 'rule "errors", rate = 2'.
    verdict: what the part must be.
    """

    part: str
    subject: str
    verdict: str


class Mistakes(ValueError):
    """Errors in several parts of one value; each is reported separately."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("; ".join(f"{mistake.subject} {mistake.verdict}" for mistake in mistakes))
        self.mistakes = tuple(mistakes)


def _check_name(name: str) -> str:
    if not 0 < len(name) <= MAX_NAME_LENGTH or not _NAME.fullmatch(name) or name in (".", ".."):
        raise ValueError("not a valid Kafka name")
    return name


def _check_prefix(prefix: str) -> str:
    # Leaves enough characters for the catalogue's longest name.
    if len(prefix) > 200 or not _NAME.fullmatch(prefix):
        raise ValueError("not a valid beginning of a Kafka name")
    return prefix


def _check_servers(servers: str) -> str:
    parts = [part.strip() for part in servers.split(",")]
    for part in parts:
        match = _HOST.fullmatch(part)
        if match is None or (match["port"] is not None and not 1 <= int(match["port"]) <= 65535):
            raise ValueError(f"{part!r} is not host:port")
    return ",".join(parts)


def _join(value: object) -> object:
    return ",".join(value) if isinstance(value, list) and all(isinstance(v, str) for v in value) else value


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",")) if value else ()
    return tuple(value) if isinstance(value, list) else value


def _check_topics(topics: tuple[str, ...]) -> tuple[str, ...]:
    for topic in topics:
        try:
            _check_name(topic)
        except ValueError as error:
            raise ValueError(f"{topic!r} is {error}") from None
        if topics.count(topic) > 1:
            raise ValueError(f"{topic!r} is listed twice")
    if not topics:
        raise ValueError("the list is empty")
    return topics


def _check_web_url(url: str) -> str:
    parts = urlsplit(url)  # raises ValueError with the reason, such as an unclosed bracket
    if not parts.hostname or parts.port == 0:
        raise ValueError("not a host with an optional port")
    return url


def _check_hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    for host in hosts:
        if not _ADDRESS.fullmatch(host):
            raise ValueError(f"{host!r} is not a host name")
    return hosts


def _check_paths(paths: tuple[str, ...]) -> tuple[str, ...]:
    if any(not path.strip() for path in paths):
        raise ValueError("an entry is empty")
    return paths


def _check_digests(digests: tuple[str, ...]) -> tuple[str, ...]:
    for digest in digests:
        if not _MANIFEST_DIGEST.fullmatch(digest):
            raise ValueError(f"{digest[:80]!r} is not a SHA-256 digest")
    return digests


def _milliseconds(value: object) -> object:
    """Convert RFC 3339 text or a TOML date-time to milliseconds since the epoch; return other values unchanged."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return value
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("it has no offset from UTC: append Z or, for example, +01:00")
        return (value - _EPOCH) // timedelta(milliseconds=1)
    return value


def _matching(pattern: re.Pattern[str]) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError("invalid format")
        return text

    return AfterValidator(check)


def _check_not_empty(text: str) -> str:
    if not text.strip():
        raise ValueError("it is empty")
    return text


def _check_secret(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value():
        raise ValueError("it is empty")
    return secret


def _check_command(command: str) -> str:
    # shlex raises ValueError with the reason, such as an unclosed quotation.
    if not shlex.split(command):
        raise ValueError("it is empty")
    return command


def _check_levels(text: str) -> str:
    parse_levels(text)
    return text


_QUOTED_LEVELS: Final = [f'"{level}"' for level in LEVELS]


def _check_modules(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not all(part.isidentifier() for part in value.split(".")):
            raise ValueError(f"{value[:80]!r} is not the name of a module")
    return values


_NAME_WORDS: Final = f"1 to {MAX_NAME_LENGTH} letters, digits, '.', '_' or '-'"

Text = Annotated[str, AfterValidator(_check_not_empty), Allowed("a non-empty string")]
Path = Annotated[str, AfterValidator(_check_not_empty), Allowed("a path")]
Command = Annotated[
    str,
    AfterValidator(_check_command),
    Allowed("a command with its arguments, quoted as in a shell"),
    Redacted(only_program),
]
Name = Annotated[str, AfterValidator(_check_name), Allowed(_NAME_WORDS)]
Prefix = Annotated[
    str, AfterValidator(_check_prefix), Allowed("empty, or at most 200 letters, digits, '.', '_' or '-'")
]
Servers = Annotated[
    str,
    BeforeValidator(_join),
    AfterValidator(_check_servers),
    Allowed("host:port, or several separated by commas"),
]
Topics = Annotated[
    tuple[str, ...],
    BeforeValidator(_split),
    AfterValidator(_check_topics),
    Allowed(f"a list of different topic names (separated by commas in the environment), each {_NAME_WORDS}"),
]
Moment = Annotated[
    int,
    BeforeValidator(_milliseconds),
    annotated_types.Ge(0),
    Allowed("milliseconds since 1970, or a date and time with an offset from UTC, such as 2026-01-31T12:00:00Z"),
]
ModelName = Annotated[
    str,
    _matching(_MODEL_NAME),
    Allowed("1 to 128 letters, digits, '.', '_' or '-', not beginning with a dot"),
]
Host = Annotated[str, _matching(_ADDRESS), Allowed("a host name or an IP address, without a port")]
Hosts = Annotated[
    tuple[str, ...],
    BeforeValidator(_split),
    AfterValidator(_check_hosts),
    Allowed("a list of host names without ports (separated by commas in the environment), such as .example.com"),
]
Repositories = Annotated[
    tuple[str, ...],
    BeforeValidator(_split),
    AfterValidator(_check_paths),
    Allowed("a list of paths or URLs (separated by commas in the environment)"),
]
Paths = Annotated[
    tuple[str, ...],
    BeforeValidator(_split),
    AfterValidator(_check_paths),
    Allowed("a list of paths (separated by commas in the environment)"),
]
Digests = Annotated[
    tuple[str, ...],
    BeforeValidator(_split),
    AfterValidator(_check_digests),
    Allowed(
        "a list of SHA-256 digests (separated by commas in the environment), each 64 hexadecimal digits, with or without "
        "sha256: before them"
    ),
]
Modules = Annotated[
    tuple[str, ...],
    BeforeValidator(_split),
    AfterValidator(_check_modules),
    Allowed("a list of names of modules (separated by commas in the environment), such as shop.scoring"),
]
_CHECKED_URL: Final = (
    _matching(_WEB_URL),
    AfterValidator(_check_web_url),
    Allowed("a URL that begins with http:// or https://"),
)
WebUrl = Annotated[str, *_CHECKED_URL, Redacted(without_login)]
WebhookUrl = Annotated[str, *_CHECKED_URL, Redacted(only_host)]
Token = Annotated[
    SecretStr,
    AfterValidator(_check_secret),
    # A variable that was left empty by mistake must not silently turn protection off.
    NeverEmpty(),
    Allowed("a non-empty token; to use no token, leave the setting out"),
]
LogLevels = Annotated[
    str,
    AfterValidator(_check_levels),
    Allowed(
        f"{', '.join(_QUOTED_LEVELS[:-1])} or {_QUOTED_LEVELS[-1]}, or a list with levels for loggers, such as "
        '"info,forebay.commit=debug"'
    ),
]
Device = Annotated[str, _matching(_DEVICE), Allowed('"auto", "cpu", "cuda", "cuda:N" or "mps"')]


def is_secret(field: FieldInfo) -> bool:
    """Return whether the field's value must never be shown."""
    return SecretStr in set(_types(field.annotation))


def may_hold_secret(field: FieldInfo) -> bool:
    """Return whether the field's value is a secret or may contain one."""
    return is_secret(field) or _redaction(field) is not None


def redacted(field: FieldInfo, value: object) -> object:
    """Return the field's value as it may be shown. The value need not be valid."""
    if value is None:
        return None
    redaction = _redaction(field)
    if redaction and isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(redaction.show(item) for item in value)
    if is_secret(field) or isinstance(value, SecretStr) or (redaction and not isinstance(value, str)):
        return HIDDEN
    return redaction.show(value) if redaction and isinstance(value, str) else value


def _redaction(field: FieldInfo) -> Redacted | None:
    metadata = [*field.metadata, *_metadata(field.annotation)]
    return next((item for item in metadata if isinstance(item, Redacted)), None)


def is_optional(field: FieldInfo) -> bool:
    """Return whether the field may be unset (None)."""
    return NoneType in set(_types(field.annotation))


def allowed(field: FieldInfo) -> str:
    """Return the allowed values in words that follow "must be"."""
    metadata = [*field.metadata, *_metadata(field.annotation)]
    for item in metadata:
        if isinstance(item, Allowed):
            return item.text
    literals = [get_args(t) for t in _types(field.annotation) if get_origin(t) is Literal]
    if literals:
        quoted = [f'"{value}"' for value in literals[0]]
        return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
    types = set(_types(field.annotation))
    if bool in types:
        return "true or false"
    if int in types:
        low = next((m.ge for m in metadata if isinstance(m, annotated_types.Ge)), None)
        high = next((m.le for m in metadata if isinstance(m, annotated_types.Le)), None)
        return (
            "a whole number" + (f" from {low}" if low is not None else "") + (f" to {high}" if high is not None else "")
        )
    if float in types:
        above = next((m.gt for m in metadata if isinstance(m, annotated_types.Gt)), None)
        lower = next((m.ge for m in metadata if isinstance(m, annotated_types.Ge)), None)
        upper = next((m.le for m in metadata if isinstance(m, annotated_types.Le)), None)
        bounds = [f"above {above}"] * (above is not None) + [f"at least {lower}"] * (lower is not None)
        bounds += [f"at most {upper}"] * (upper is not None)
        return " ".join(["a number", " and ".join(bounds)]).strip()
    return "a string"


def from_text(field: FieldInfo, text: str) -> object:
    """Convert text from the environment or the command line to the field's type; return it unchanged if that fails.

    Empty text unsets an optional field, unless it is `NeverEmpty`.
    """
    never_empty = any(isinstance(item, NeverEmpty) for item in [*field.metadata, *_metadata(field.annotation)])
    if not text and is_optional(field) and not never_empty:
        return None
    for plain_type in _types(field.annotation):
        if plain_type in (int, float, bool):
            try:
                return TypeAdapter(plain_type).validate_strings(text)
            except ValidationError:
                continue
    return text


def _types(annotation: Any) -> Iterator[Any]:
    """Yield the types of a union, without annotations."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _types(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for arm in get_args(annotation):
            yield from _types(arm)
    else:
        yield annotation


def _metadata(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield from get_args(annotation)[1:]
        yield from _metadata(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for arm in get_args(annotation):
            yield from _metadata(arm)
