"""Settings of access to models: who may have events predicted, by which model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from forebay.stream.access.roles import Role
from forebay.stream.access.rules import model_problem, principal_problem
from forebay.stream.config.json_value import parse_json
from forebay.stream.config.section import DAY_MS, Section
from forebay.stream.config.values import Allowed, Mistake, Mistakes, Path, Text, WebUrl

Algorithm = Literal["ES256", "EdDSA", "RS256"]
ALGORITHMS: Final[tuple[str, ...]] = get_args(Algorithm)
ROLES: Final = tuple(role.value for role in Role)
MAX_RULES: Final = 10_000
_MAX_SHOWN_CHARS: Final = 80


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",")) if value else ()
    return tuple(value) if isinstance(value, list) else value


def _check_algorithms(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names or any(name not in ALGORITHMS for name in names):
        raise ValueError("not a list of these algorithms")
    return names


def is_protected_url(url: str) -> bool:
    """Return whether keys that come from a URL cannot be replaced on the way: it is HTTPS, or on this machine."""
    parts = urlsplit(url)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1"))
    )


def read_rules(value: object) -> dict[str, tuple[str, ...]]:
    """Return the models by principal of a table, or of JSON. Raises ValueError for what is wrong."""
    return _read_table(value, "model", model_problem)


def read_roles(value: object) -> dict[str, tuple[str, ...]]:
    """Return the roles by principal of a table, or of JSON. Raises ValueError for what is wrong."""
    return _read_table(value, "role", _role_problem)


def _role_problem(name: str) -> str | None:
    return None if name in ROLES else f"must be one of {', '.join(ROLES)}"


def _read_table(value: object, noun: str, problem_of: Callable[[str], str | None]) -> dict[str, tuple[str, ...]]:
    if isinstance(value, str):
        try:
            value = parse_json(value) if value.strip() else {}
        except ValueError as error:
            raise ValueError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("not a table")
    if len(value) > MAX_RULES:
        raise ValueError(f"there are {len(value)}")
    mistakes = []
    table: dict[str, tuple[str, ...]] = {}
    for principals, names in value.items():
        shown = str(principals)[:_MAX_SHOWN_CHARS]
        if (problem := principal_problem(str(principals))) is not None:
            mistakes.append(Mistake(f".{shown}", f"principal {shown!r}", problem))
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            mistakes.append(Mistake(f".{shown}", f"principal {shown!r}", f"must have a list of {noun}s"))
            continue
        for name in names:
            if (problem := problem_of(name)) is not None:
                subject = f"principal {shown!r}, {noun} {name[:_MAX_SHOWN_CHARS]!r}"
                mistakes.append(Mistake(f".{shown}", subject, problem))
        table[str(principals)] = tuple(names)
    if mistakes:
        raise Mistakes(mistakes)
    return table


AlgorithmNames = Annotated[
    tuple[str, ...],
    BeforeValidator(_split),
    AfterValidator(_check_algorithms),
    Allowed(f"a list of {', '.join(ALGORITHMS)} (separated by commas in the environment)"),
]
AccessRules = Annotated[
    dict[str, tuple[str, ...]],
    BeforeValidator(read_rules),
    Allowed(f"a table of at most {MAX_RULES} lists of models by principal (JSON in the environment)"),
]
AccessRoles = Annotated[
    dict[str, tuple[str, ...]],
    BeforeValidator(read_roles),
    Allowed(f"a table of at most {MAX_RULES} lists of roles by principal (JSON in the environment)"),
]


class AccessSection(Section):
    """Access to models: events need a signed token, and rules say which principal may use which model."""

    enabled: bool = Field(
        default=False,
        description="Require a signed token (JWT) in the header forebay-principal of every event, and deny what no rule "
        "permits. Denied events become dead letters of the kind denied. Needs the extra security.",
    )
    admin: bool = Field(
        default=False,
        description="Require a role for every path of the admin API except the probes: of the principal of a bearer token, see "
        "roles. admin.token has all roles. The rules apply to predictions on request. Needs the extra security.",
    )
    keys_file: Path | None = Field(
        default=None,
        description="File with the public keys of the issuer: a JWK set. It is read again when it changes.",
    )
    keys_url: WebUrl | None = Field(
        default=None,
        description="URL of the public keys instead of a file: a JWK set, over HTTPS. It is fetched at the start and every "
        "keys_refresh_ms; while it cannot be fetched, the last keys are used.",
    )
    discover_keys: bool = Field(
        default=False,
        description="Take the URL of the keys from the issuer's OpenID configuration, at issuer + "
        "/.well-known/openid-configuration.",
    )
    keys_refresh_ms: int = Field(
        default=300_000, ge=1_000, le=DAY_MS, description="How often keys are fetched from a URL."
    )
    keys_timeout_ms: int = Field(
        default=5_000, ge=10, le=600_000, description="Time limit for fetching keys from a URL."
    )
    keys_ca_file: Path | None = Field(
        default=None,
        description="File with the CA certificates (PEM) that verify the server of the keys. Default: those of the system.",
    )
    issuer: Text | None = Field(default=None, description="The claim iss that tokens must have.")
    audience: Text | None = Field(
        default=None,
        description="The value that the claim aud of tokens must be or contain, such as the name of this deployment.",
    )
    admin_audience: Text | None = Field(
        default=None,
        description="The same for bearer tokens of the admin API. It must differ from audience, because a reader of an input "
        "topic reads the tokens of its events.",
    )
    algorithms: AlgorithmNames = Field(
        default=ALGORITHMS, description="Signature algorithms that are accepted. The kind of the key must fit, too."
    )
    require_topics: bool = Field(
        default=True,
        description="Refuse tokens without the claim topics, the list of input topics that a token is for. If a token has "
        "the claim, it is always applied.",
    )
    clock_skew_ms: int = Field(
        default=60_000,
        ge=0,
        le=3_600_000,
        description="By how much the timestamp of a record may be before nbf or after exp.",
    )
    max_token_bytes: int = Field(default=4_096, ge=128, le=65_536, description="Longer tokens are refused.")
    max_cached_tokens: int = Field(
        default=4_096, ge=1, le=1_000_000, description="Number of verified tokens that are remembered by their bytes."
    )
    count_as_dead_letters: bool = Field(
        default=False,
        description="Count denied events in limits.max_dead_letter_ratio and max_dead_letters_in_a_row. A producer without "
        "permission can then stop the worker.",
    )
    rules: AccessRules = Field(
        default={},
        description="For each principal (the claim sub), the models that it may use: NAME, NAME:VERSION, or the beginning of a "
        "name followed by *. A principal may also end with *.",
    )
    roles: AccessRoles = Field(
        default={},
        description="For each principal, its roles at the admin API: look, predict, operate, report (counts of a device at the "
        "edge). A principal may end with *.",
    )
    rules_file: Path | None = Field(
        default=None,
        description="File (TOML) with further rules in the table rules, and roles in the table roles. It is read again when it "
        "changes, without a restart.",
    )
    reload_interval_ms: int = Field(
        default=10_000,
        ge=0,
        le=DAY_MS,
        description="How often keys_file and rules_file are read to find changes. 0: only at the start.",
    )

    @property
    def is_used(self) -> bool:
        """Whether anything needs a token."""
        return self.enabled or self.admin

    @property
    def fetches_keys(self) -> bool:
        """Whether the keys come from a URL."""
        return self.keys_url is not None or self.discover_keys
