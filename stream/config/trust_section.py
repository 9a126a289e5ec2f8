"""Settings of the trust policy: which models must be signed, and which may bring code of their own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from forebay.stream.config.section import Section
from forebay.stream.config.table_list import Table, table_reader
from forebay.stream.config.values import Allowed, Digests, Modules, Moment, Path, Repositories, Text

_MAX_TABLES = 256

Fingerprint = Annotated[
    str, Allowed("a SHA-256 fingerprint: 64 hexadecimal digits, with or without sha256: before them")
]


class TrustedKey(Table):
    """A key that signs models."""

    name: Text = Field(description="Name of the key, for rules and messages.")
    file: Path | None = Field(default=None, description="The public key: elliptic curve P-256, P-384 or P-521, in PEM.")
    fingerprint: Fingerprint | None = Field(
        default=None,
        pattern="^(sha256:)?[0-9a-fA-F]{64}$",
        description="Instead of file, to revoke a key whose public part is not at hand.",
    )
    certificate_authority: Path | None = Field(
        default=None,
        description="Instead of file: certificates of an authority, in PEM. Signatures with a certificate that leads to it "
        "count.",
    )
    subject: Text | None = Field(
        default=None,
        description="With certificate_authority: the subject of the certificates that count, such as CN=release,O=Example. "
        "Default: each that the authority has certified.",
    )
    not_after: Moment | None = Field(default=None, description="From then on, signatures of the key do not count.")
    revoked: Text | None = Field(default=None, description="Why no signature of the key counts, now or ever.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        stated = [value for value in (self.file, self.fingerprint, self.certificate_authority) if value is not None]
        if len(stated) != 1:
            raise ValueError("must have one of file, fingerprint and certificate_authority")
        if self.subject is not None and self.certificate_authority is None:
            raise ValueError("must have certificate_authority where subject is set")
        if self.fingerprint is not None and self.revoked is None:
            raise ValueError(
                "must have file, because signatures are verified with it; a fingerprint only revokes a key"
            )
        return self

    @property
    def expiry(self) -> datetime | None:
        """`not_after` as a time."""
        return None if self.not_after is None else datetime.fromtimestamp(self.not_after / 1000, UTC)


class SignatureRuleTable(Table):
    """Which of the models must be signed, and with which keys."""

    policy: Literal["off", "warn", "enforce"] = Field(
        description="Without a signature that counts, a model is loaded (off), loaded with a warning (warn), or refused "
        "(enforce)."
    )
    repository: Path | None = Field(default=None, description="A path or URL. Default: all repositories.")
    model: Text = Field(default="*", description="Name of a model, or a pattern such as churn-*.")
    keys: Annotated[list[str], Allowed("a list of names from trust.keys")] = Field(
        default=[], description="Names of the keys that count. Default: all of trust.keys."
    )
    allow_code: bool = Field(
        default=False, description="With enforce: models with a valid signature may run code of their own."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.allow_code and self.policy != "enforce":
            raise ValueError('must have policy = "enforce" where allow_code is true')
        return self


TrustedKeys = Annotated[
    tuple[TrustedKey, ...],
    BeforeValidator(table_reader(TrustedKey, "key", _MAX_TABLES)),
    AfterValidator(tuple),
    Allowed(f"a list of at most {_MAX_TABLES} tables, each with name, and file, fingerprint or certificate_authority"),
]
SignatureRules = Annotated[
    tuple[SignatureRuleTable, ...],
    BeforeValidator(table_reader(SignatureRuleTable, "rule", _MAX_TABLES)),
    AfterValidator(tuple),
    Allowed(f"a list of at most {_MAX_TABLES} tables, each with policy"),
]


class TrustSection(Section):
    """Which models must be signed (docs/signing.md), and which may run code of their own: only those named here."""

    repositories: Repositories = Field(
        default=(),
        description="Model repositories whose models may all run code of their own. A user who may write there can run "
        "any code in the worker.",
    )
    manifests: Digests = Field(
        default=(),
        description="Digests of the manifests of single versions that may run code of their own; "
        "`forebay models show` prints them.",
    )
    modules: Modules = Field(
        default=(),
        description="Modules of the environment, or packages with all their modules, with models that @forebay.model declares. "
        "A version only names its module; without an entry here, nothing is imported.",
    )
    signatures: SignatureRules = Field(
        default=(),
        description="Rules on signatures. The first that covers a model counts; a model that none covers is not checked.",
    )
    keys: TrustedKeys = Field(default=(), description="The keys that sign models, and those that are revoked.")
