"""Errors of the schema registry and of the requests to it."""

from __future__ import annotations

from collections.abc import Sequence

from forebay.schemas.errors import ForebayError


class RegistryError(ForebayError):
    """The schema registry cannot do what it was asked for."""

    default_kind = "schema_registry"

    @property
    def description(self) -> str:
        """The message, and the remedy if there is one."""
        return self.message if self.remedy is None else f"{self.message}; {self.remedy}"


class SchemaNotFound(RegistryError):
    """The registry does not have the schema, the subject or the version."""

    default_kind = "schema_not_found"


class RegistryUnavailable(RegistryError):
    """No URL of the registry answers, or each of them has a temporary failure."""

    default_kind = "schema_registry_unavailable"


class RegistryDenied(RegistryError):
    """The registry refuses the credentials or the access."""

    default_kind = "schema_registry_denied"


class SchemaIncompatible(RegistryError):
    """The registry refuses a schema because it is not compatible with the earlier versions of its subject.

    messages: what the registry reports, if anything.
    """

    default_kind = "schema_incompatible"

    def __init__(self, message: str, *, messages: Sequence[str] = (), remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.messages = tuple(messages)


class SchemaInvalid(RegistryError):
    """A schema, or the answer that should contain it, cannot be used."""

    default_kind = "schema_invalid"
