"""Fetches the public keys of an issuer: a JWK set (RFC 7517), whose URL may come from OpenID Connect Discovery 1.0."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final

import aiohttp
import orjson

from forebay.schemas.errors import ConfigError
from forebay.stream.authorization.sources import MAX_FILE_BYTES
from forebay.stream.config.access_section import AccessSection, is_protected_url

_WELL_KNOWN: Final = "/.well-known/openid-configuration"
_MAX_SHOWN_CHARS: Final = 200


class KeysUnavailable(Exception):
    """The keys cannot be fetched now, with the reason."""


class KeyFetcher:
    """Fetches the keys of a section whose keys are not in a file. Raises ConfigError for an unusable `keys_ca_file`."""

    def __init__(self, section: AccessSection) -> None:
        self._section = section
        self._timeout_s = section.keys_timeout_ms / 1000
        try:
            self._tls = ssl.create_default_context(cafile=section.keys_ca_file)
        except OSError as error:
            raise ConfigError(
                f"access.keys_ca_file, {section.keys_ca_file}, cannot be used: {error}",
                kind="access_file",
                remedy="name a file with CA certificates in PEM format",
            ) from None

    async def fetch(self) -> bytes:
        """Return the JWK set. Raises KeysUnavailable."""
        # Proxies and logins of the environment are not used, redirects are not followed, and no compression is asked for.
        connector = aiohttp.TCPConnector(ssl=self._tls)
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                aiohttp.ClientSession(
                    connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
                ) as session,
            ):
                return await _get(session, self._section.keys_url or await self._discovered(session))
        except TimeoutError:
            raise KeysUnavailable(f"no answer within {self._timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise KeysUnavailable(str(error)[:_MAX_SHOWN_CHARS] or type(error).__name__) from None

    async def _discovered(self, session: aiohttp.ClientSession) -> str:
        """Return the URL that the issuer names for its keys."""
        issuer = self._section.issuer or ""
        url = issuer.rstrip("/") + _WELL_KNOWN
        document: Any = orjson.loads(await _get(session, url))
        if not isinstance(document, dict) or document.get("issuer") != issuer:
            raise KeysUnavailable(f"{url} does not name the issuer {issuer}")
        keys_url = document.get("jwks_uri")
        if not isinstance(keys_url, str) or not is_protected_url(keys_url):
            raise KeysUnavailable(f"the jwks_uri of {url} is not a URL that begins with https://")
        return keys_url


async def _get(session: aiohttp.ClientSession, url: str) -> bytes:
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    async with session.get(url, headers=headers, allow_redirects=False) as response:
        if response.status != 200:
            raise KeysUnavailable(f"{url} answers with HTTP status {response.status}")
        body = bytearray()
        async for part in response.content.iter_any():
            body += part
            if len(body) > MAX_FILE_BYTES:
                raise KeysUnavailable(f"{url} answers with more than {MAX_FILE_BYTES:,} bytes")
        return bytes(body)
