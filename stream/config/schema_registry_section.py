"""Settings of the connection to a schema registry."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from forebay.stream.config.redaction import without_login
from forebay.stream.config.section import DAY_MS, Section
from forebay.stream.config.values import Allowed, Path, Redacted, Text, Token


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",")) if value else ()
    return tuple(value) if isinstance(value, list) else value


def _check_urls(urls: tuple[str, ...]) -> tuple[str, ...]:
    for url in urls:
        parts = urlsplit(url)  # raises ValueError with the reason, such as an unclosed bracket
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError("not a URL with a host")
        if "@" in url or "?" in url or "#" in url or any(char.isspace() for char in url):
            raise ValueError("a login, a query or a fragment in a URL")
    return urls


def _check_subjects(subjects: tuple[str, ...]) -> tuple[str, ...]:
    if any(not subject.strip() for subject in subjects):
        raise ValueError("an entry is empty")
    return subjects


WebUrls = Annotated[
    tuple[str, ...],
    BeforeValidator(_split),
    AfterValidator(_check_urls),
    Allowed(
        "a list of URLs (separated by commas in the environment) that begin with http:// or https://, without a login, a "
        "query or a fragment"
    ),
    Redacted(without_login),
]
Subjects = Annotated[
    tuple[str, ...],
    BeforeValidator(_split),
    AfterValidator(_check_subjects),
    Allowed("a list of names of subjects (separated by commas in the environment)"),
]


class SchemaRegistrySection(Section):
    """Connection to a schema registry with Confluent's API, such as Confluent's own, Apicurio or Karapace."""

    urls: WebUrls = Field(
        default=(),
        description="Base URLs of the registry, which are tried in turn: http://registry:8081, or with Apicurio "
        "http://registry:8080/apis/ccompat/v7. Empty: no registry is used.",
    )
    username: Text | None = Field(default=None, description="User name, or API key, for basic authentication.")
    password: SecretStr | None = Field(
        default=None,
        description="Password, or API secret, for basic authentication. Prefer the environment variable "
        "FOREBAY_SCHEMA_REGISTRY__PASSWORD to a file.",
    )
    bearer_token: Token | None = Field(
        default=None,
        description="Token that is sent instead of a user name and a password (Authorization: Bearer ...). Prefer the "
        "environment variable FOREBAY_SCHEMA_REGISTRY__BEARER_TOKEN to a file.",
    )
    ssl_cafile: Path | None = Field(
        default=None,
        description="File with the CA certificates (PEM) that verify the registry. Default: the system's certificates.",
    )
    ssl_certfile: Path | None = Field(default=None, description="Mutual TLS: file with the client certificate (PEM).")
    ssl_keyfile: Path | None = Field(
        default=None, description="Mutual TLS: file with the private key (PEM), if ssl_certfile does not contain it."
    )
    ssl_password: SecretStr | None = Field(default=None, description="Mutual TLS: the password of the private key.")
    ssl_check_hostname: bool = Field(
        default=True, description="Require that the registry's certificate names the host that the worker connects to."
    )
    timeout_ms: int = Field(default=5_000, ge=10, le=600_000, description="Time limit for one request to one URL.")
    subjects: Subjects = Field(
        default=(),
        description="Subjects whose schemas are read at the start, such as features-value. A schema with rules, which "
        "Forebay cannot execute, then ends the start with an error. Other schemas are read when a record names them.",
    )
    auto_register: bool = Field(
        default=False,
        description="Register the schemas of outputs at the start, if output.format needs one. Otherwise a subject without the "
        "schema ends the start with an error, and `forebay schemas register --outputs` registers it.",
    )
    on_unknown_id: Literal["retry", "reject"] = Field(
        default="retry",
        description="What to do with a record whose schema the registry does not know. retry: its partition waits, and the "
        "registry is asked again. reject: the record becomes a dead letter of the kind unknown_schema. While the registry "
        "is unreachable, records with schemas that are not known yet wait in both cases.",
    )
    retry_backoff_ms: int = Field(
        default=500,
        ge=1,
        le=DAY_MS,
        description="Wait before a schema is asked for again. It doubles with each further failure.",
    )
    retry_backoff_max_ms: int = Field(
        default=15_000, ge=1, le=DAY_MS, description="Longest wait before a schema is asked for again."
    )
    max_schemas: int = Field(
        default=10_000, ge=1, le=10_000_000, description="Maximum number of schemas that are kept in memory."
    )
    max_response_bytes: int = Field(
        default=8_388_608,
        ge=1_024,
        le=1_073_741_824,
        description="Larger answers of the registry are refused.",
    )
