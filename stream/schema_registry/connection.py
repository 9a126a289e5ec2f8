"""Open the connection to the schema registry that the settings name."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

from forebay.schemas.errors import ConfigError
from forebay.stream.config.client_tls import client_tls_context
from forebay.stream.config.sections import SchemaRegistrySection
from forebay.stream.core.clock import Clock
from forebay.stream.schema_registry.client import SchemaRegistryClient
from forebay.stream.schema_registry.http import RegistryHttp
from forebay.stream.schema_registry.store import SchemaStore

if TYPE_CHECKING:
    from forebay.stream.schema_registry.field_keys import LocalKms


@dataclass(frozen=True, slots=True)
class RegistryConnection:
    """A client of a registry, with the HTTP session that it uses."""

    client: SchemaRegistryClient
    session: aiohttp.ClientSession

    async def close(self) -> None:
        """Cancel the requests that are in flight, and close the session."""
        await self.client.close()
        await self.session.close()


def connect_registry(
    section: SchemaRegistrySection,
    *,
    store: SchemaStore | None = None,
    clock: Clock | None = None,
    kms: LocalKms | None = None,
) -> RegistryConnection:
    """Return a connection, which sends nothing yet. Call it in a running event loop, and close it.

    store: receives the schemas. Default: a new one.
    kms: decrypts the keys of encrypted fields.

    Raises ConfigError if no registry or an unusable file is configured.
    """
    if not section.urls:
        raise ConfigError(
            "no schema registry is configured",
            remedy="set schema_registry.urls, or FOREBAY_SCHEMA_REGISTRY__URLS",
        )
    # Credentials go to the URLs of the settings only; .netrc and proxies of the environment are not used.
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=client_tls_context(section, section="schema_registry"), limit=16),
        headers=_authorization(section),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # a small compressed answer can be very large; none is asked for
    )
    http = RegistryHttp(
        session,
        section.urls,
        timeout_s=section.timeout_ms / 1000,
        max_response_bytes=section.max_response_bytes,
    )
    client = SchemaRegistryClient(
        http,
        store=SchemaStore(section.max_schemas) if store is None else store,
        clock=clock,
        missing_ttl_s=section.retry_backoff_ms / 2000,
        kms=kms,
    )
    return RegistryConnection(client, session)


@asynccontextmanager
async def open_registry(
    section: SchemaRegistrySection,
    *,
    store: SchemaStore | None = None,
    clock: Clock | None = None,
    kms: LocalKms | None = None,
) -> AsyncIterator[SchemaRegistryClient]:
    """Yield a client of the registry, as `connect_registry` returns it."""
    connection = connect_registry(section, store=store, clock=clock, kms=kms)
    try:
        yield connection.client
    finally:
        await connection.close()


def _authorization(section: SchemaRegistrySection) -> dict[str, str]:
    if section.bearer_token is not None:
        return {"Authorization": f"Bearer {section.bearer_token.get_secret_value()}"}
    if section.username is not None:
        password = section.password.get_secret_value() if section.password else ""
        login = base64.b64encode(f"{section.username}:{password}".encode()).decode()
        return {"Authorization": f"Basic {login}"}
    return {}
