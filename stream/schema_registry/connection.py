"""Open the connection to the schema registry that the settings name."""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from forebay.schemas.errors import ConfigError
from forebay.stream.config.sections import SchemaRegistrySection
from forebay.stream.core.clock import Clock
from forebay.stream.schema_registry.client import SchemaRegistryClient
from forebay.stream.schema_registry.http import RegistryHttp
from forebay.stream.schema_registry.store import SchemaStore


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
    section: SchemaRegistrySection, *, store: SchemaStore | None = None, clock: Clock | None = None
) -> RegistryConnection:
    """Return a connection, which sends nothing yet. Call it in a running event loop, and close it.

    store: receives the schemas. Default: a new one.

    Raises ConfigError if no registry or an unusable file is configured.
    """
    if not section.urls:
        raise ConfigError(
            "no schema registry is configured",
            remedy="set schema_registry.urls, or FOREBAY_SCHEMA_REGISTRY__URLS",
        )
    # Credentials go to the URLs of the settings only; .netrc and proxies of the environment are not used.
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=ssl_context(section), limit=16),
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
    )
    return RegistryConnection(client, session)


@asynccontextmanager
async def open_registry(
    section: SchemaRegistrySection, *, store: SchemaStore | None = None, clock: Clock | None = None
) -> AsyncIterator[SchemaRegistryClient]:
    """Yield a client of the registry, as `connect_registry` returns it."""
    connection = connect_registry(section, store=store, clock=clock)
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


def ssl_context(section: SchemaRegistrySection) -> ssl.SSLContext:
    """Return the TLS context for URLs with https. Raises ConfigError if a file cannot be used."""
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=section.ssl_cafile)
    except (OSError, ValueError) as error:
        raise _unusable("ssl_cafile", section.ssl_cafile, error, "certificates in PEM") from None
    context.check_hostname = section.ssl_check_hostname
    if section.ssl_certfile is not None:
        # A function, because with None OpenSSL would prompt for the password on the terminal.
        password = section.ssl_password.get_secret_value() if section.ssl_password else ""
        try:
            context.load_cert_chain(section.ssl_certfile, section.ssl_keyfile, password=lambda: password)
        except (OSError, ValueError) as error:
            key, path = (
                ("ssl_keyfile", section.ssl_keyfile) if section.ssl_keyfile else ("ssl_certfile", section.ssl_certfile)
            )
            raise _unusable(
                key, path, error, "the key, in PEM, of the certificate in ssl_certfile, and ssl_password its password"
            ) from None
    return context


def _unusable(key: str, path: str | None, error: Exception, wanted: str) -> ConfigError:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return ConfigError(f"schema_registry.{key}: {path} cannot be used: {reason}", remedy=f"it must hold {wanted}")
